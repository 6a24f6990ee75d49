"""The program as it is run: a small checkpoint, PortAudio onto a file, a terminal or a pipe."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import make_checkpoint
from tests.program import (
    COMMAND,
    CTRL_C,
    CTRL_D,
    CTRL_Z,
    Typist,
    captured,
    environment,
    piped,
    takes,
)

needs_alsa = pytest.mark.skipif(
    sys.platform != "linux" or find_library("portaudio") is None,
    reason="needs ALSA and PortAudio",
)
on_file = "alsa-file.conf"
AS_HEARD = ["--set", "watermark.method=off"]  # what is played is not marked
SCENE = "Hi there!||Oh, hello.||How are you?0"


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose takes never end by themselves."""
    return make_checkpoint(tmp_path_factory.mktemp("endless"), eos_every=None)


@pytest.fixture
def typist(tmp_path: Path) -> Iterator[Callable[..., Typist]]:
    started: list[Typist] = []

    def start(*flags: str, sound: str | None = None) -> Typist:
        started.append(Typist.start(*flags, folder=tmp_path, sound=sound))
        return started[-1]

    yield start
    for each in started:
        each.child.close(force=True)


Start = Callable[..., Typist]


def samples(path: Path) -> np.ndarray:
    return np.fromfile(path, np.int16, offset=44)


# piped


@needs_alsa
def test_a_piped_scene_is_heard_and_saved_sample_for_sample(
    checkpoint: Path, tmp_path: Path
) -> None:
    # rendered first, so that a busy machine leaves no gaps in what is heard
    flags = ["--model", str(checkpoint), "--seed", "7", "--set", "audio.start=render", *AS_HEARD]
    ran = piped(f"{SCENE}\nAnd you?\n", *flags, folder=tmp_path, sound=on_file)
    assert ran.returncode == 0, ran.stderr
    paths = [Path(line).name for line in ran.stdout.splitlines()]
    assert paths == ["001-0.wav", "002-1.wav", "003-0.wav", "001-003-scene.wav", "004-0.wav"]
    said = [samples(path) for path in takes(tmp_path)]
    heard = captured(tmp_path)
    whole = np.concatenate(said)
    n_scene = sum(map(len, said[:3]))
    assert np.array_equal(heard[:n_scene], whole[:n_scene])
    assert np.array_equal(heard[heard != 0], whole[whole != 0])
    assert np.array_equal(samples(next(tmp_path.glob("takes/*/*scene.wav"))), whole[:n_scene])


def test_commands_and_entries_are_taken_in_order_from_a_pipe(
    checkpoint: Path, tmp_path: Path
) -> None:
    lines = [
        *("Hi there.", "$HISTORY$", "$RETRY$", "$SWAP$", "Yes.", "$UNDO$", "$history", "$STATS$"),
        *("$CLEAR$", "$HISTORY$", "$5 please", r"\$EXIT$", "$SET temperature 0.5$", "$VOICES$"),
        *("$BACK$", "$SEED 9$", "$REPLAY 1$", "$SPEAKER$", "$HELP$", "$RELOAD$", "$EXIT$", "never"),
    ]
    ran = piped("\n".join(lines), "--model", str(checkpoint), "--seed", "3", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    spoken = [json.loads(line) for line in _sidecar(tmp_path)]
    assert [take["text"] for take in spoken] == [
        *("Hi there.", "Hi there.", "Yes.", "$5 please", "$EXIT$"),
    ]
    assert [take["speaker"] for take in spoken] == [0, 0, 1, 1, 1]
    assert [take["seed"] for take in spoken] == [3, 4, 5, 3, 4]
    assert ran.stderr.count("0: Hi there.") == 2
    assert "Nothing was said yet." in ran.stderr


def test_the_same_seed_gives_the_same_takes(checkpoint: Path, tmp_path: Path) -> None:
    flags = ["--model", str(checkpoint), "--seed", "11", "--dtype", "float32", "--audio", "off"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert piped(SCENE, *flags, folder=tmp_path / name).returncode == 0
    one, two = (takes(tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize(
    ("lines", "flags", "code", "said"),
    [
        ("$CLAER$\nHi.\n", [], 1, "Did you mean $CLEAR$?"),
        ("Hi.\n", ["--model", "/nowhere"], 3, "/nowhere"),
        ("Hi.\n", ["--model", "sesame/csm-1b"], 3, "HF_HUB_OFFLINE"),
        ("Hi.\n", ["--set", "temperatur=1"], 2, "sampling.temperature"),
        ("Hi.\n", ["--config", "missing.yaml"], 5, "missing.yaml"),
        ("Hi.\n", ["--set", "temperature"], 2, "KEY=VALUE"),
        ("Hi.\n", ["--wrong"], 2, "--wrong"),
        ("Hi.\n", ["--seed", "x"], 2, "--seed: sampling.seed"),
        ("Hi.\n", ["--device", "abacus"], 2, "cpu, cuda, mps"),
    ],
)
def test_what_goes_wrong_is_one_message_and_an_exit_code(
    checkpoint: Path, tmp_path: Path, lines: str, flags: list[str], code: int, said: str
) -> None:
    model = [] if "--model" in flags else ["--model", str(checkpoint)]
    ran = piped(lines, *model, *flags, folder=tmp_path)
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_closed_streams_are_empty_ones(tmp_path: Path) -> None:
    line = f"{sys.executable} -m csm_chat --model /nowhere <&- >&- 2>&-"
    ran = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment(), timeout=60)
    assert ran.returncode == 3


def test_without_sound_takes_are_saved_and_it_is_said_once(
    checkpoint: Path, tmp_path: Path
) -> None:
    ran = piped(SCENE, "--model", str(checkpoint), folder=tmp_path, sound="alsa-null.conf")
    assert ran.returncode == 0, ran.stderr
    assert len(takes(tmp_path)) == 3


def test_takes_that_cannot_be_saved_are_said_once_and_fail_the_run(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "takes").write_text("in the way")
    ran = piped("Hi.\nYes.\n", "--model", str(checkpoint), "--audio", "off", folder=tmp_path)
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.count("cannot be made (Not a directory); a file is in the place") == 1
    assert ran.stderr.count("seed") == 2


def _sidecar(folder: Path) -> list[str]:
    return next(folder.glob("takes/*/takes.jsonl")).read_text().splitlines()


# at a terminal


@needs_alsa
def test_a_scene_typed_at_a_terminal_is_shown_heard_and_saved(
    typist: Start, checkpoint: Path, tmp_path: Path
) -> None:
    flags = ["--model", str(checkpoint), "--set", "audio.start=render", *AS_HEARD]
    t = typist(*flags, "--set", "voices.0=Ana", "--set", "voices.1=Ben", sound=on_file)
    t.sees("Ana>")
    t.send(SCENE)
    t.sees("Ana: Hi there!", "Ben: Oh, hello.", "Ana: How are you?")
    t.enter("")
    t.sees(" 1 Ana  Hi there!", " 2 Ben  Oh, hello.", " 3 Ana  How are you?", "takes are saved in")
    t.enter("$EXIT$")
    assert t.leaves() == 0
    heard = captured(tmp_path)
    said = np.concatenate([samples(path) for path in takes(tmp_path)])
    # leaving stops what is still being said
    n = min(len(heard), len(said))
    assert np.array_equal(heard[:n][: n // 1920 * 1920 - 1920], said[:n][: n // 1920 * 1920 - 1920])


def test_ctrl_c_while_loading_hints_and_the_line_typed_is_spoken(
    typist: Start, checkpoint: Path
) -> None:
    t = typist("--model", str(checkpoint), "--audio", "off")
    t.sees("0>")
    t.send(CTRL_C)
    t.sees("Ctrl-D or $EXIT$ to leave")
    t.enter("Typed early.")
    t.sees(" speaker 0  Typed early.")
    t.send(CTRL_D)
    assert t.leaves() == 0


def test_ctrl_c_stops_generation_keeps_the_typed_line_and_the_queue(
    typist: Start, endless: Path, tmp_path: Path
) -> None:
    t = typist("--model", str(endless), "--audio", "off", "--set", "context.max_turn_s=90")
    long = "A line that is long enough to be spoken for quite a while, and then some. " * 4
    t.sees("0>", "real time")
    t.enter(long)
    t.until(lambda: re.search(r"generating speaker 0 (?!0\.0)", t.shown), "generating")
    t.enter("Queued behind it.")
    t.sees("1 queued")
    t.send("half a li")
    t.send(CTRL_C)
    t.sees("cut")
    t.sees("Queued behind it.   ")
    t.until(lambda: "> half a li" in t.shown, "the line that was being typed")
    t.send(CTRL_C)
    t.until(lambda: len(list(tmp_path.glob("takes/*/*.cut.wav"))) >= 1, "a cut take")
    t.send("\x15")
    t.enter("$HISTORY$")
    t.sees("Nothing was said yet.")
    t.send(CTRL_D)
    assert t.leaves() == 0


def test_a_second_ctrl_c_drops_the_queue(typist: Start, endless: Path) -> None:
    t = typist("--model", str(endless), "--audio", "off", "--set", "context.max_turn_s=90")
    long = "A line that is long enough to be spoken for quite a while, and then some. " * 4
    t.sees("0>", "real time")
    for _ in range(3):
        t.enter(long)
    t.sees("2 queued")
    t.send(CTRL_C)
    t.send(CTRL_C)
    t.sees("dropped")
    t.send("typed")
    t.sees("typed")
    t.until(lambda: "queued" not in t.shown and "generating" not in t.shown, "idle")
    time.sleep(1.1)  # within a second it would be the same wish once more
    t.send(CTRL_C)
    t.until(lambda: "> typed" not in t.shown, "the line cleared")
    t.send(CTRL_D)
    assert t.leaves() == 0


@needs_alsa
def test_ctrl_c_while_it_is_heard_makes_it_quiet(
    typist: Start, checkpoint: Path, tmp_path: Path
) -> None:
    flags = ["--model", str(checkpoint), "--set", "audio.start=render", "--seed", "7"]
    t = typist(*flags, sound=on_file)
    t.sees("0>", "real time")
    t.enter("||".join(["One more part, please."] * 8))
    t.sees(" 8 speaker 7")
    t.sees("speaking")
    t.send(CTRL_C)
    t.until(lambda: "speaking" not in t.shown, "quiet")
    n_said = sum(len(samples(path)) for path in takes(tmp_path))
    assert len(captured(tmp_path)) < n_said
    t.enter("$HISTORY$")
    t.sees_again("One more part, please.", 8 + 8)
    t.send(CTRL_D)
    assert t.leaves() == 0


def test_a_model_that_does_not_load_leaves_the_prompt_and_can_be_tried_again(
    typist: Start, checkpoint: Path, tmp_path: Path
) -> None:
    t = typist("--model", "voice", "--audio", "off")
    t.sees("0>", "voice")
    t.enter("Kept until there is a voice.")
    t.until(lambda: "failed" in t.shown or "no model" in t.shown, "failed")
    (tmp_path / "voice").symlink_to(checkpoint)
    t.enter("")
    t.sees(" speaker 0  Kept until")
    t.send(CTRL_D)
    assert t.leaves() == 0


def test_the_terminal_never_takes_keys_for_itself(typist: Start) -> None:
    # between two prompts and while lines are printed, too: a Ctrl-C would end the program then
    termios = pytest.importorskip("termios")
    t = typist("--model", "/nowhere", "--audio", "off")
    t.sees("Enter tries again")
    lines_edited = 0
    for _ in range(20):
        t.enter("$HELP$")
        for _ in range(200):
            flags = termios.tcgetattr(t.child.child_fd)[3]
            lines_edited += bool(flags & (termios.ICANON | termios.ISIG))
            time.sleep(0.0001)
        t.read(0.02)
    assert lines_edited == 0
    t.send(CTRL_D)
    assert t.leaves() == 3


def test_garbage_at_the_prompt_leaves_it_alive(typist: Start, checkpoint: Path) -> None:
    t = typist("--model", str(checkpoint), "--audio", "off")
    t.sees("0>")
    for line in ("||||", "$CLAER$", "Hi!||No!-9", "$SPEAKER nobody$", "$SET x y$", "$REPLAY 99$"):
        t.enter(line)
        t.read(0.2)
        t.send("\x15")
    t.enter("\x1b[200~pasted\x07 \x1b[201~")
    t.sees("pasted")
    t.enter("Still here.")
    t.sees("Still here.   ")
    t.send(CTRL_D)
    assert t.leaves() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="has no job control")
def test_ctrl_z_stops_the_program_and_fg_comes_back(checkpoint: Path, tmp_path: Path) -> None:
    termios = pytest.importorskip("termios")
    t = Typist.start(folder=tmp_path, command=["bash", "--norc", "--noprofile", "-i"])
    program = shlex.join([*COMMAND, "--model", str(checkpoint), "--audio", "off"])
    t.enter(program)
    t.sees("0>", "real time")
    t.send("half a li")
    t.until(lambda: "0> half a li" in t.shown, "the line that is typed")
    t.send(CTRL_Z)
    t.sees("Stopped")
    edits_lines = termios.tcgetattr(t.child.child_fd)[3] & termios.ISIG
    assert edits_lines
    t.enter("echo $((6 * 7)) shells")
    t.sees("42 shells")
    t.enter("fg")
    t.until(lambda: "0> half a li" in t.shown.split("42 shells")[1], "the line again")
    t.enter("ne.")
    t.sees(" speaker 0  half a line.")
    t.send(CTRL_D)
    t.until(lambda: re.search(r"bash-[0-9.]+[#$]$", t.shown.rstrip()), "the shell")
    t.enter("exit $?")
    assert t.leaves() == 0
