"""This machine: its processor, its memory, and how much of it this process took at most."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from csm_chat.errors import CsmChatError

GB = 1e9


def processor() -> str:
    """Its name and number of cores this process may use."""
    facts = Path("/proc/cpuinfo")
    name = platform.processor() or platform.machine()
    if facts.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", facts.read_text("utf-8"), re.MULTILINE)
        name = found[1].strip() if found else name
    return f"{name}, {n_cores()} cores"


def n_cores() -> int:
    usable = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(usable(0)) if usable else os.cpu_count() or 1


def system() -> str:
    return f"{platform.system()} {platform.release()}, Python {platform.python_version()}"


def peak_bytes() -> int:
    """The most memory this process held so far, mapped file pages included."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the process that started this one, too
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text("ascii"))
        assert found, status
        return int(found[1]) * 1024
    import psutil

    memory = psutil.Process().memory_info()
    if sys.platform == "win32":
        return int(memory.peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def check_memory(n_bytes: float, what: str, advice: str) -> None:
    """Raise CsmChatError if that much memory is not free."""
    import psutil

    free = psutil.virtual_memory().available
    if n_bytes > free:
        raise CsmChatError(
            f"{what} takes about {n_bytes / GB:.1f} GB of memory, and {free / GB:.1f} GB are free; "
            f"{advice}"
        )
