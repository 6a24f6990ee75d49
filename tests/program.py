"""csm-chat itself, as a process: piped, or on a pseudo-terminal whose screen can be read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pexpect
import pyte

from csm_chat.audio.files import to_16_bit

TESTS = Path(__file__).parent
COMMAND = [sys.executable, "-W", "error::RuntimeWarning", "-m", "csm_chat"]
PATIENCE_S = 60.0
CTRL_C, CTRL_D, CTRL_Z, ENTER = "\x03", "\x04", "\x1a", "\r"


def environment(sound: str | None = None) -> dict[str, str]:
    """That of the tests; `sound` names an ALSA configuration beside this file."""
    added = {"PYTHONPATH": str(TESTS.parent), "TERM": "xterm-256color"}
    if sound:
        added["ALSA_CONFIG_PATH"] = str(TESTS / sound)
    return {"OMP_NUM_THREADS": "1", **os.environ, **added}


def piped(
    lines: str | bytes, *flags: str, folder: Path, sound: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to its end with `lines` on standard input."""
    given = lines if isinstance(lines, bytes) else lines.encode()
    ran = subprocess.run(
        [*COMMAND, *flags],
        input=given,
        cwd=folder,
        env=environment(sound),
        capture_output=True,
        timeout=PATIENCE_S,
    )
    out, err = (each.decode(errors="surrogateescape") for each in (ran.stdout, ran.stderr))
    return subprocess.CompletedProcess(ran.args, ran.returncode, out, err)


def captured(folder: Path) -> npt.NDArray[np.int16]:
    """What the ALSA file device was given, rounded as a 16-bit file rounds it."""
    # ALSA's header calls the samples integers; they are the floats it was given
    heard = np.fromfile(folder / "captured.wav", np.float32, offset=44)
    return to_16_bit(heard)


@dataclass
class Typist:
    """Types at csm-chat on a terminal of 100 by 30 and reads the screen."""

    child: pexpect.spawn[bytes]
    screen: pyte.HistoryScreen
    stream: pyte.ByteStream

    @classmethod
    def start(
        cls,
        *flags: str,
        folder: Path,
        sound: str | None = None,
        command: Sequence[str] = COMMAND,
    ) -> Typist:
        child = pexpect.spawn(
            command[0],
            [*command[1:], *flags],
            cwd=folder,
            env=environment(sound),
            dimensions=(30, 100),
            timeout=PATIENCE_S,
        )
        child.delaybeforesend = None
        screen = pyte.HistoryScreen(100, 30, history=1000)
        typist = cls(child, screen, pyte.ByteStream(screen))
        # a terminal answers when it is asked where the cursor is
        screen.write_process_input = typist.send  # type: ignore[method-assign, assignment]
        return typist

    def send(self, text: str) -> None:
        self.child.send(text)

    def enter(self, line: str) -> None:
        self.send(line + ENTER)

    @property
    def shown(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    @property
    def all_shown(self) -> str:
        """The screen and what has scrolled off it."""
        width = range(self.screen.columns)
        above = ["".join(line[x].data for x in width).rstrip() for line in self.screen.history.top]
        return "\n".join([*above, self.shown])

    def read(self, seconds: float = 0.05) -> None:
        try:
            self.stream.feed(self.child.read_nonblocking(65536, seconds))
        except (pexpect.TIMEOUT, pexpect.EOF):
            return

    def until(self, is_so: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, f"not seen: {what}\n{self.all_shown}"
            assert self.child.isalive() or is_so(), f"ended before: {what}\n{self.all_shown}"
            self.read()

    def sees(self, *texts: str) -> None:
        for text in texts:
            self.until(lambda text=text: text in self.all_shown, text)

    def sees_again(self, text: str, times: int) -> None:
        self.until(lambda: self.all_shown.count(text) >= times, f"{text} {times} times")

    def leaves(self) -> int:
        """Wait for the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.child.isalive():
            assert time.monotonic() < deadline, f"still running\n{self.all_shown}"
            self.read()
        self.child.close()
        assert self.child.exitstatus is not None, f"signal {self.child.signalstatus}"
        return self.child.exitstatus


def takes(folder: Path, pattern: str = "[0-9][0-9][0-9]-*.wav") -> Sequence[Path]:
    """Files of takes in the order they were made, without joined scenes."""
    return sorted(p for p in folder.glob(f"takes/*/{pattern}") if "scene" not in p.name)
