"""The program's early end: signals, closed terminals, and a sound device that holds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from csm_chat.leaving import AskedToEnd, asked_by_signals
from tests.checkpoints import make_checkpoint
from tests.program import COMMAND, PATIENCE_S, Typist, environment
from tests.test_program import needs_alsa

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]
STUCK = """</usr/share/alsa/alsa.conf>
pcm.!default {{ type file slave.pcm {{ type null }} file "{fifo}" format raw }}
"""


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose takes never end by themselves."""
    return make_checkpoint(tmp_path_factory.mktemp("endless"), eos_every=None)


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a default device that takes some sound and then stays stuck."""
    fifo = tmp_path / "unread"
    os.mkfifo(fifo)
    (tmp_path / "alsa.conf").write_text(STUCK.format(fifo=fifo))
    opened = os.open(fifo, os.O_RDWR)
    yield environment() | {"ALSA_CONFIG_PATH": str(tmp_path / "alsa.conf")}
    os.close(opened)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_a_piped_session_and_keeps_what_was_said(
    endless: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [*COMMAND, "--model", str(endless), "--audio", "off"]
    command += ["--set", "watermark.method=off"]  # the file grows with each frame
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as ran:
        assert ran.stdin and ran.stdout
        ran.stdin.write(b"Hello there, and so on.\n")
        ran.stdin.flush()
        deadline = time.monotonic() + PATIENCE_S
        while not any(part.stat().st_size > 5000 for part in tmp_path.glob("takes/*/*.part")):
            assert time.monotonic() < deadline and ran.poll() is None
            time.sleep(0.05)
        ran.send_signal(number)
        told = ran.stdout.read()
        assert ran.wait(PATIENCE_S) == code, told
    assert [*tmp_path.glob("takes/*/*.cut.wav")] and not [*tmp_path.glob("takes/*/*.part")]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_at_the_prompt_leaves_it(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    typist = Typist.start("--audio", "off", folder=tmp_path)
    typist.sees("0>")
    typist.child.kill(number)
    assert typist.leaves() == code
    assert "Traceback" not in typist.all_shown


@pytest.mark.parametrize("number", [signal.SIGTERM, None], ids=["SIGTERM", "closed terminal"])
def test_say_ends_early_with_what_was_said(
    endless: Path, tmp_path: Path, number: signal.Signals | None
) -> None:
    flags = ["say", "--model", str(endless), "--set", "context.max_turn_s=90", "-o", "a.wav"]
    typist = Typist.start(*flags, "On and on it goes, and does not end. " * 30, folder=tmp_path)
    part = tmp_path / "a.wav.part"
    typist.until(lambda: part.exists() and part.stat().st_size > 8000, "a file that grows")
    assert left_by(typist, number) == (143 if number else 129)
    assert (tmp_path / "a.cut.wav").stat().st_size > 8000 and not part.exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, None], ids=["SIGHUP", "closed terminal"])
def test_render_ends_early_with_the_turns_that_are_done(
    endless: Path, tmp_path: Path, number: signal.Signals | None
) -> None:
    (tmp_path / "a.txt").write_text("Hi.\n" + "On and on it goes, and does not end. " * 30)
    flags = ["render", "--model", str(endless), "--set", "context.max_turn_s=90", "a.txt"]
    typist = Typist.start(*flags, folder=tmp_path)
    turns = tmp_path / "renders" / "a" / "turns"
    typist.until(lambda: (turns / "001.npz").exists(), "a turn that is done")
    assert left_by(typist, number) == 129
    assert not [*tmp_path.rglob("*.part")]


def left_by(typist: Typist, number: signal.Signals | None) -> int:
    """The exit code after a signal; None: its terminal is closed."""
    if number:
        typist.child.kill(number)
        return typist.leaves()
    typist.child.ptyproc.fileobj.close()
    _, status = os.waitpid(typist.child.pid, 0)
    return os.waitstatus_to_exitcode(status)


def test_a_second_signal_does_not_disturb_the_end() -> None:
    with asked_by_signals() as ending:
        with pytest.raises(AskedToEnd):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert ending.code_or(0) == 143


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with asked_by_signals() as ending:
            signal.raise_signal(signal.SIGHUP)
            assert ending.code_or(0) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@needs_alsa
def test_a_stuck_sound_device_does_not_keep_the_program(
    unread: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "import sys, threading, time, numpy as np\n"
        "from csm_chat.audio.player import Player\n"
        "from csm_chat.leaving import held_by_no_library\n"
        "with held_by_no_library():\n"
        "    player = Player()\n"
        "    player.open()\n"
        "    player.begin(0.0)\n"
        "    for _ in range(100): player.write(np.zeros(24000, np.float32))\n"
        "    player.drain()\n"
        "    player.close()\n"
        "    print(time.time(), flush=True)\n"
        "    sys.exit(7)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], env=unread, cwd=tmp_path, capture_output=True, timeout=30
    )
    assert ran.returncode == 7, ran.stderr.decode()
    assert time.time() - float(ran.stdout) < 2
