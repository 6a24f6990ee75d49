"""Output devices, through PortAudio: the list, and a stream of mono 24 kHz."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from csm_chat.audio import probe
from csm_chat.errors import DeviceError
from csm_chat.types import SAMPLE_RATE, Pcm

log = logging.getLogger(__name__)

OTHER_RATES_HZ = (48_000, 44_100)  # what hardware takes that refuses ours
_stderr_lock = threading.Lock()  # file descriptor 2 is one for the whole process


@dataclass(frozen=True, slots=True)
class Device:
    """An output device as PortAudio lists it."""

    index: int
    name: str
    host: str  # "ALSA", "Core Audio", "Windows WASAPI" ...
    n_channels: int
    rate: int  # Hz, its own default
    is_default: bool

    def __str__(self) -> str:
        return f"{self.index} {self.name} ({self.host})"


class OutputStream(Protocol):
    """An open device. One thread. Every call may raise DeviceError."""

    name: str
    rate: int  # Hz, what the device runs at; `write` takes SAMPLE_RATE all the same
    latency_s: float  # what the device holds when full

    def start(self) -> None: ...

    def write(self, pcm: Pcm) -> bool:
        """Block until the device has taken the samples; True if it ran dry before them."""
        ...

    def stop(self) -> None:
        """Stop; what the device still holds may be lost."""
        ...

    def abort(self) -> None:
        """Stop at once; what the device still holds is lost."""
        ...

    def close(self) -> None: ...


def devices() -> list[Device]:
    """Output devices, as they were when PortAudio last looked. Raises DeviceError."""
    sd = _sounddevice()
    with stderr_to_log(), _portaudio_errors(sd):
        return _listed(sd)


def open_output(
    wanted: str, latency_s: float, refresh: bool = False, rates: Sequence[int] = ()
) -> OutputStream:
    """Open the device called `wanted`: "default", an index or part of a name. Raises DeviceError.

    `refresh` makes PortAudio look for devices anew, which kills all streams of this process.
    `rates` are those to try instead of ours, the device's own and the usual ones.
    """
    if refresh:
        probe.ask_first.cache_clear()
    sd = _sounddevice()
    with stderr_to_log(), _portaudio_errors(sd):
        if refresh:
            while sd._initialized:
                sd._terminate()
            sd._initialize()
        device = find_device(wanted, _listed(sd))
        settings = {"device": device.index, "dtype": "float32"}
        if device.host == "Windows WASAPI":  # else it takes the mixer's rate only
            settings["extra_settings"] = sd.WasapiSettings(auto_convert=True)

        def accepts(rate: int, channels: int) -> bool:
            try:
                sd.check_output_settings(samplerate=rate, channels=channels, **settings)
            except sd.PortAudioError as error:
                log.debug("%s refuses %d Hz, %d channels: %s", device, rate, channels, error)
                return False
            return True

        rates = rates or (SAMPLE_RATE, device.rate, *OTHER_RATES_HZ)
        rate, channels = pick_format(device, rates, accepts)
        raw = sd.OutputStream(samplerate=rate, channels=channels, latency=latency_s, **settings)
    log.debug("opened %s at %d Hz, %d channels, %.3f s", device, rate, channels, raw.latency)
    return PortAudioStream(sd, raw, device.name, rate, channels)


def find_device(wanted: str, available: Sequence[Device]) -> Device:
    """The device with that index, or with all these words in name and host. Raises DeviceError."""
    if not available:
        raise DeviceError(
            f"no output device found (PortAudio sees 0): {no_device_advice(platform.release())}"
        )
    listed = "; ".join(str(device) for device in available)
    default = [device for device in available if device.is_default]
    if wanted == "default":
        if not default:
            raise DeviceError(f"no default output device; choose one of: {listed}")
        return default[0]
    if wanted.isdecimal():
        matches = [device for device in available if device.index == int(wanted)]
    else:
        matches = _named(wanted.casefold(), available)
    if not matches:
        raise DeviceError(f'no output device "{wanted}"; there are: {listed}')
    if len(matches) > 1:
        # the same hardware appears once per host API on Windows
        hosts = {device.host for device in default}
        matches = [device for device in matches if device.host in hosts] or matches
    if len(matches) > 1:
        found = "; ".join(str(device) for device in matches)
        raise DeviceError(f'output device "{wanted}" could be any of: {found}; give the number')
    return matches[0]


def _named(wanted: str, available: Sequence[Device]) -> list[Device]:
    exact = [device for device in available if device.name.casefold() == wanted]
    words = wanted.split()
    return exact or [
        device
        for device in available
        if all(word in f"{device.name} {device.host}".casefold() for word in words)
    ]


def pick_format(
    device: Device, rates: Sequence[int], accepts: Callable[[int, int], bool]
) -> tuple[int, int]:
    """The first rate it accepts and the channels, one if it may be. Raises DeviceError."""
    for rate in dict.fromkeys(rates):
        for channels in (1, 2):
            if accepts(rate, channels):
                return rate, channels
    tried = ", ".join(str(rate) for rate in dict.fromkeys(rates))
    raise DeviceError(f'"{device.name}" accepts none of {tried} Hz; choose another device')


def no_device_advice(release: str) -> str:
    """What to do without a device. `release` is the kernel's: WSL names itself there."""
    if "microsoft" in release.lower():
        return "on WSL `sudo apt install libasound2-plugins` and point ALSA at pulse"
    if "SSH_CONNECTION" in os.environ:
        return "over SSH there is none here; set PULSE_SERVER to your own machine's sound server"
    return "plug one in, or start the sound server, and connect again"


class PortAudioStream:
    """A sounddevice stream that takes mono 24 kHz whatever the device runs at."""

    def __init__(self, sd: Any, raw: Any, name: str, rate: int, channels: int) -> None:
        self.name = name
        self.rate = rate
        self.latency_s = float(raw.latency)
        self._sd = sd
        self._raw = raw
        self._channels = channels
        self._resampled: Callable[[Pcm], Pcm] = _unchanged

    def start(self) -> None:
        """Start empty; the resampler keeps its state until the next start."""
        if self.rate != SAMPLE_RATE:
            import soxr

            # never flushed: the silence written before every stop is longer than its delay
            self._resampled = soxr.ResampleStream(
                SAMPLE_RATE, self.rate, 1, dtype="float32"
            ).resample_chunk
        with _portaudio_errors(self._sd):
            self._raw.start()

    def write(self, pcm: Pcm) -> bool:
        samples = self._resampled(pcm)
        if not len(samples):
            return False
        with _portaudio_errors(self._sd):
            columns = np.repeat(samples[:, np.newaxis], self._channels, axis=1)
            return bool(self._raw.write(np.ascontiguousarray(columns)))

    def stop(self) -> None:
        with _portaudio_errors(self._sd):
            self._raw.stop()

    def abort(self) -> None:
        with _portaudio_errors(self._sd):
            self._raw.abort()

    def close(self) -> None:
        with stderr_to_log(), _portaudio_errors(self._sd):
            self._raw.close()


def _unchanged(pcm: Pcm) -> Pcm:
    return pcm


def _listed(sd: Any) -> list[Device]:
    hosts = sd.query_hostapis()
    first = sorted(range(len(hosts)), key=lambda index: index != sd.default.hostapi)
    defaults = [hosts[index]["default_output_device"] for index in first]
    default = next((index for index in defaults if index >= 0), -1)
    return [
        Device(
            index,
            info["name"],
            hosts[info["hostapi"]]["name"],
            info["max_output_channels"],
            round(info["default_samplerate"]),
            index == default,
        )
        for index, info in enumerate(sd.query_devices())
        if info["max_output_channels"] > 0
    ]


def _sounddevice() -> Any:
    # Debian's PortAudio links libjack, which would start a server of its own
    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    probe.check()
    try:
        import sounddevice
    except OSError as error:
        linux = sys.platform == "linux"
        fix = (
            "sudo apt install libportaudio2"
            if linux
            else "pip install --force-reinstall sounddevice"
        )
        raise DeviceError(f"{error}: {fix} (or your system's PortAudio package)") from error
    except Exception as error:
        # its class lives in the module that could not be imported
        if type(error).__name__ != "PortAudioError":
            raise
        raise DeviceError(f"the sound system does not start ({error})") from error
    return sounddevice


@contextlib.contextmanager
def _portaudio_errors(sd: Any) -> Iterator[None]:
    try:
        yield
    except sd.PortAudioError as error:
        raise DeviceError(str(error)) from error


@contextlib.contextmanager
def stderr_to_log() -> Iterator[None]:
    """Send what C code writes to file descriptor 2 to the log: ALSA writes 60 lines a search."""
    with _stderr_lock, contextlib.ExitStack() as stack:
        try:
            caught = stack.enter_context(tempfile.TemporaryFile())
            kept = os.dup(2)
        except OSError as error:  # it is closed, or there is no room: the lines stay where they are
            log.debug("standard error is not redirected: %s", error)
            kept = -1
        if kept < 0:
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                log.debug("%s", line)
