"""Whether PortAudio can be started at all, asked in a process of its own. Lists no devices."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from functools import cache

from csm_chat.errors import DeviceError

log = logging.getLogger(__name__)

PATIENCE_S = 10.0


@cache
def ask_first() -> str:
    """Why PortAudio must not be started in this process; "" if it may be.

    Without ALSA's configuration it aborts the whole process. One child a process finds out: 60 ms;
    `ask_first.cache_clear()` has it asked again.
    """
    if sys.platform != "linux" or not sys.executable:
        return ""
    script = f"import sys; sys.path[:] = {sys.path!r}; import sounddevice"
    try:
        ran = subprocess.run(
            [sys.executable, "-I", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return f"the sound system does not answer within {PATIENCE_S:g} s; restart it"
    except OSError as error:  # no process can be started: sound may work all the same
        log.debug("PortAudio is not asked first: %s", error)
        return ""
    log.debug(
        "PortAudio was asked first: %d, %s", ran.returncode, ran.stderr.decode("utf-8", "replace")
    )
    # other failures are its own to tell, once it is imported here
    return "" if ran.returncode >= 0 else _ended_by(-ran.returncode)


def check() -> None:
    """Raises DeviceError where starting PortAudio would end this process."""
    if problem := ask_first():
        raise DeviceError(problem)


def _ended_by(number: int) -> str:
    configuration = os.environ.get("ALSA_CONFIG_PATH")
    fix = (
        f"ALSA_CONFIG_PATH is {configuration}: unset it or make it name ALSA's configuration"
        if configuration
        else "sudo apt install libasound2-data, which has ALSA's configuration"
    )
    return f"PortAudio does not start here ({signal.Signals(number).name}); {fix}"
