"""Peak memory of loading the transformers: `python -m benchmarks.memory FOLDER DTYPE`. Linux."""

from __future__ import annotations

import logging
import re
import sys
import time
from pathlib import Path

from csm_chat.backends import load_engine

GB = 1e9


def peak_bytes() -> int:
    """The most memory this process has held so far, mapped file pages included."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found, status
    return int(found[1]) * 1024


def main(folder: str, dtype: str) -> None:
    import torch

    before = peak_bytes()
    start = time.perf_counter()
    engine = load_engine(folder, "cpu", dtype)
    logging.info(
        "torch %s alone %.2f GB; %s in %s: peak %.2f GB, %.1f s, context of %d rows",
        torch.__version__,
        before / GB,
        folder,
        dtype,
        peak_bytes() / GB,
        time.perf_counter() - start,
        engine.context_rows,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(*sys.argv[1:])
