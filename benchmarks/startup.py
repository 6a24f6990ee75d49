"""How long until `csm-chat` answers: --help, --version, and the prompt on a terminal.

Run as `python -m benchmarks.startup`. The first row is a bare Python that imports prompt_toolkit's
prompt, in the same run: what any prompt of this kind costs on this machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

N_RUNS = 10
PEER = "import prompt_toolkit.shortcuts"
COMMAND = [sys.executable, "-m", "csm_chat"]


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def seconds_to_prompt() -> float:
    """From the start of the process to the prompt's first character on a terminal."""
    import pexpect

    environment = {**os.environ, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
    started = time.perf_counter()
    arguments = ["-m", "csm_chat", "--model", "/nowhere"]
    child = pexpect.spawn(sys.executable, arguments, env=environment, timeout=20)
    child.expect(">")
    elapsed = time.perf_counter() - started
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    return elapsed


def main() -> None:
    cases = {
        "python -c 'import prompt_toolkit.shortcuts'": lambda: seconds_of(
            [sys.executable, "-c", PEER]
        ),
        "csm-chat --help": lambda: seconds_of([*COMMAND, "--help"]),
        "csm-chat --version": lambda: seconds_of([*COMMAND, "--version"]),
        "csm-chat: prompt up": seconds_to_prompt,
    }
    for case in cases.values():  # the first run reads files from the disk
        case()
    for name, case in cases.items():
        times = [case() for _ in range(N_RUNS)]
        sys.stdout.write(f"{name:46} {statistics.median(times):.3f} s  ({max(times):.3f} worst)\n")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    main()
