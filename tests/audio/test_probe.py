"""PortAudio asked in a child: what would abort this process is one line instead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library

import pytest

from csm_chat.audio import probe
from csm_chat.audio.device import devices, open_output
from csm_chat.errors import DeviceError

needs_alsa = pytest.mark.skipif(
    sys.platform != "linux" or find_library("portaudio") is None,
    reason="needs ALSA and PortAudio",
)


@pytest.fixture(autouse=True)
def unasked() -> Iterator[None]:
    probe.ask_first.cache_clear()
    yield
    probe.ask_first.cache_clear()


@needs_alsa
def test_without_alsas_configuration_it_is_said_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALSA_CONFIG_PATH", "/nonexistent")
    for ask in (devices, lambda: open_output("default", 0.2)):
        with pytest.raises(DeviceError, match=r"SIGABRT.*ALSA_CONFIG_PATH is /nonexistent: unset"):
            ask()


@needs_alsa
def test_it_is_asked_once_and_again_when_devices_are_looked_for_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, -6, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    for refresh, times in ((False, 1), (False, 1), (True, 2)):
        with pytest.raises(DeviceError, match="SIGABRT"):
            open_output("default", 0.2, refresh)
        assert len(asked) == times


def test_a_silent_child_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(DeviceError, match="does not answer within 10 s"):
        probe.check()
