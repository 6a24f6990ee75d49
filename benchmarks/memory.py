"""Memory of a conversation: `python -m benchmarks.memory MODEL [TURNS]`. Linux.

A model is loaded as the prompt loads it, and says a line again and again; printed is what the
process holds after 1, 10, 100 ... turns, and the most it held. Mapped file pages count.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from csm_chat.assemble import load
from csm_chat.bench.machine import GB, peak_bytes
from csm_chat.conversation.session import Session
from csm_chat.runtime import let_threads_sleep
from csm_chat.types import Utterance

N_SPEAKERS = 2


def held_bytes() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found
    return int(found[1]) * 1024


def show(when: str) -> None:
    sys.stdout.write(f"{when:16} holds {held_bytes() / GB:.3f} GB, peak {peak_bytes() / GB:.3f}\n")
    sys.stdout.flush()


def main(model: str, n_turns: int) -> None:
    let_threads_sleep()
    import torch

    show(f"torch {torch.__version__}")
    start = time.perf_counter()
    session = Session(load(model))
    show(f"loaded, {time.perf_counter() - start:.1f} s")
    shown = 1
    for i in range(1, n_turns + 1):
        for _ in session.take(Utterance("So am I, thank you.", i % N_SPEAKERS)):
            pass
        if i == shown:
            show(f"{i} turns")
            shown *= 10


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 1)
