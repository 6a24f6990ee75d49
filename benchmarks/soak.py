"""Many turns with a fault thrown in every ten: what is lost beyond what the fault itself took?

`python -m benchmarks.soak [--turns 1000] [--seed 1]`. The program runs as its users run it, on a
terminal, with the built-in voice and without sound; faults are drawn with the seed. The exit code
is 1 if a take or a record is missing that no fault took.
"""

from __future__ import annotations

import json
import os
import pty
import queue
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import wave
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from csm_chat.bench.machine import processor

TURN_S = 120.0  # a turn that takes longer has been lost
MID_TAKE_S = 0.25
LINES = (
    "Hello there, how are you today?",
    "Oh, I am very well, thank you.",
    "We could go for a walk by the river.",
    "Wait for me!",
    "The train leaves at seven in the morning.",
)


@dataclass(slots=True)
class Tally:
    n_said: int = 0  # turns whose path was printed
    n_starts: int = 0
    taken: set[Path] = field(default_factory=set)  # by a fault: deleted with their folder
    paths: list[Path] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    unsaid: list[str] = field(default_factory=list)  # turns without a path, and why
    memory_mb: list[int] = field(default_factory=list)
    n_files: list[int] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)


class Program:
    """`csm-chat` on a terminal, its takes' paths on a pipe; started anew when it has ended."""

    def __init__(self, folder: Path, tally: Tally) -> None:
        self.folder = folder
        self.tally = tally
        self.process: subprocess.Popen[str] | None = None
        self.paths: queue.Queue[str] = queue.Queue()
        self._keys = -1

    def start(self) -> None:
        began = time.monotonic()
        keys, terminal = pty.openpty()
        self._keys = keys
        self.process = subprocess.Popen(
            [sys.executable, "-m", "csm_chat", "--model", "builtin", "--audio", "off"],
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder / "home"), "PYTHONUNBUFFERED": "1"},
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # a file would be cut off with the others
            text=True,
            start_new_session=True,
        )
        os.close(terminal)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        threading.Thread(target=_drain, args=(keys,), daemon=True).start()
        threading.Thread(target=self._log, args=(self.process,), daemon=True).start()
        self.tally.n_starts += 1
        self.say("Here we go.")
        self.heard()
        self.tally.starts_s.append(time.monotonic() - began)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.paths.put(line.rstrip("\n"))

    def _log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr
        with (self.folder / "told.txt").open("a") as told:
            for line in process.stderr:
                told.write(line)

    def say(self, line: str) -> None:
        self.type(line.encode() + b"\n")

    def type(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def heard(self) -> Path | None:
        """The path of the next take; None when none came, or the program has died."""
        patience = time.monotonic() + TURN_S
        while self.paths.empty():
            assert self.process
            if time.monotonic() > patience or self.process.poll() is not None:
                return None
            time.sleep(0.02)
        path = self.folder / self.paths.get()
        self.tally.n_said += 1
        self.tally.paths.append(path)
        return path

    def is_dead(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def end(self, number: int | None = None) -> int:
        """Ask it to leave, or send a signal, and wait."""
        assert self.process
        if number is None:
            self.say("$EXIT$")
        else:
            self.signal(number)
        code = self.process.wait(timeout=TURN_S)
        time.sleep(0.1)  # what it had printed is read by then
        while not self.paths.empty():
            self.heard()
        os.close(self._keys)
        return code

    def measure(self) -> None:
        assert self.process
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        self.tally.memory_mb.append(int(rss.split()[1]) // 1024)
        self.tally.n_files.append(len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())))


def _drain(keys: int) -> None:
    """What a terminal echoes is taken off it, or it would stand still."""
    try:
        while os.read(keys, 65_536):
            pass
    except OSError:  # closed
        return


# faults: each gets the program in the middle of nothing, and leaves it able to speak


def takes_folder_removed(program: Program, _: random.Random) -> None:
    takes = program.folder / "takes"
    program.tally.taken.update(takes.rglob("*.wav"))
    shutil.rmtree(takes, ignore_errors=True)


def disk_full(program: Program, draw: random.Random) -> None:
    """No file may grow beyond a few kB while a turn is said."""
    assert program.process
    pid = program.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (draw.choice([1, 5000, 20_000]), before[1]))
    program.say("This cannot be saved whole.")
    time.sleep(2.0)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    while not program.paths.empty():
        program.heard()


def interrupted(program: Program, draw: random.Random) -> None:
    program.say("This is cut off before it can come to its end.")
    time.sleep(draw.uniform(0.0, 2 * MID_TAKE_S))
    program.type(b"\x03")
    time.sleep(0.5)
    while not program.paths.empty():
        program.heard()


def killed(program: Program, _: random.Random) -> None:
    program.say("This is cut off before it can come to its end.")
    time.sleep(MID_TAKE_S)
    program.end(signal.SIGKILL)
    program.start()


def terminated(program: Program, _: random.Random) -> None:
    program.say("This is cut off before it can come to its end.")
    time.sleep(MID_TAKE_S)
    code = program.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM, code
    program.start()


def stopped_for_a_while(program: Program, _: random.Random) -> None:
    program.say("This one is held up.")
    program.signal(signal.SIGSTOP)
    time.sleep(0.5)
    program.signal(signal.SIGCONT)
    program.heard()


def odd_references(program: Program, draw: random.Random) -> None:
    folder = program.folder / "references"
    odd = folder / f"reference7{draw.choice(['.wav', '.txt', '.flac'])}"
    match draw.randrange(3):
        case 0:
            os.mkfifo(odd)
        case 1:
            odd.symlink_to("/dev/zero")
        case _:
            odd.write_bytes(draw.randbytes(3000))
    program.say("$RELOAD$")
    time.sleep(0.5)
    odd.unlink()
    program.say("$RELOAD$")


def references_gone(program: Program, _: random.Random) -> None:
    folder = program.folder / "references"
    folder.rename(program.folder / "elsewhere")
    program.say("$RELOAD$")
    time.sleep(0.5)
    (program.folder / "elsewhere").rename(folder)
    program.say("$RELOAD$")


def bad_cache(program: Program, draw: random.Random) -> None:
    for path in (program.folder / "home").rglob("*.npz"):
        path.write_bytes(draw.randbytes(draw.choice([0, 100, 100_000])))
    program.end()
    program.start()


def odd_lines(program: Program, draw: random.Random) -> None:
    odd = (
        b"***",
        b"\x1b[1;31m \xff\xfe \x07",
        b"Hi.||",
        b"$SET temperature hot$",
        b"$AUDIO nosuch$",
        b"$CLAER$",
        b"nobody-ever: hello",
        bytes(draw.choice(range(32, 255)) for _ in range(20)).replace(b"$", b""),
    )
    for line in draw.sample(odd, 4):
        program.type(line + b"\n")
    time.sleep(3.0)
    while not program.paths.empty():
        program.heard()


FAULTS: tuple[Callable[[Program, random.Random], None], ...] = (
    *(takes_folder_removed, disk_full, interrupted, killed, terminated, stopped_for_a_while),
    *(odd_references, references_gone, bad_cache, odd_lines),
)


def soak(folder: Path, n_turns: int, seed: int) -> Tally:
    draw, tally = random.Random(seed), Tally()
    program = Program(folder, tally)
    program.start()
    for turn in range(1, n_turns + 1):
        program.say(draw.choice(LINES))
        if program.heard() is None:
            tally.unsaid.append(f"turn {turn}")
            if program.is_dead():
                program.start()
        if turn % 10 == 0:
            fault = draw.choice(FAULTS)
            tally.faults[fault.__name__] += 1
            fault(program, draw)
            program.measure()
            _show(turn, n_turns, fault.__name__)
    program.end()
    return tally


def _show(turn: int, n_turns: int, fault: str) -> None:
    sys.stderr.write(f"\r{turn} of {n_turns}: {fault:24}")
    sys.stderr.flush()


def missing(tally: Tally) -> list[Path]:
    """Takes whose path was printed, that no fault took and that are not there, whole."""
    return [path for path in tally.paths if path not in tally.taken and not _plays(path)]


def _plays(path: Path) -> bool:
    try:
        with wave.open(str(path)) as file:
            return file.getnframes() > 0
    except (OSError, EOFError, wave.Error):
        return False


def records(folder: Path) -> tuple[int, int, int]:
    """Whole records, lines that are none, and takes without a record."""
    n_whole = n_broken = n_without = 0
    for sidecar in (folder / "takes").rglob("takes.jsonl"):
        named = set()
        for line in sidecar.read_text().splitlines():
            try:
                named.add(json.loads(line)["file"])
                n_whole += 1
            except (ValueError, KeyError):
                n_broken += 1
        takes = {path.name for path in sidecar.parent.glob("*.wav")}
        takes = {name for name in takes if "-scene" not in name and ".part" not in name}
        n_without += len(takes - named)
    return n_whole, n_broken, n_without


def main() -> int:
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "home").mkdir()
        shutil.copytree(Path(__file__).parents[1] / "references", folder / "references")
        tally = soak(folder, options.turns, options.seed)
        lost = missing(tally)
        n_whole, n_broken, n_without = records(folder)
        n_parts = len(list((folder / "takes").rglob("*.part*")))
    sys.stdout.write(f"\n{processor()}, {options.turns} turns, seed {options.seed}\n")
    memory, files, starts = tally.memory_mb, tally.n_files, sorted(tally.starts_s)
    rows = {
        "turns asked for": options.turns,
        "of these without a take": len(tally.unsaid),
        "takes said, those of faults included": tally.n_said,
        "taken by a removed folder": len(tally.taken),
        "takes missing otherwise": len(lost),
        "records": n_whole,
        "records that cannot be read": n_broken,
        "takes without a record": n_without,
        "unfinished files that kills left": n_parts,
        "starts": tally.n_starts,
        "start to a take, median and most": f"{starts[len(starts) // 2]:.1f}, {starts[-1]:.1f} s",
        "memory, first, last and most": f"{memory[0]}, {memory[-1]}, {max(memory)} MB",
        "files open, first, last and most": f"{files[0]}, {files[-1]}, {max(files)}",
        **{f"fault: {name}": n for name, n in tally.faults.most_common()},
    }
    rows |= {f"missing: {path}": "" for path in lost}
    rows |= {f"unsaid: {turn}": "" for turn in tally.unsaid}
    sys.stdout.writelines(f"{what:40} {figure}\n" for what, figure in rows.items())
    return 1 if lost or n_broken or n_without or tally.unsaid else 0


if __name__ == "__main__":
    sys.exit(main())
