"""`csm-chat devices`: what can be played on, and at which rate it would be."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from csm_chat.commands.terminal import flags
from csm_chat.errors import DeviceError
from csm_chat.printing import put

if TYPE_CHECKING:
    from csm_chat.audio.device import Device
    from csm_chat.config.settings import Config

HEADS = ("id", "name", "host", "channels", "own rate", "plays at")


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = "--audio ID, or part of a name, chooses one; * is the default."
    flags.add_settings(parser)


def run(args: Namespace, config: Config) -> int:
    import platform

    from csm_chat.audio.device import devices, no_device_advice
    from csm_chat.commands.terminal.table import table

    found = devices()
    if not found:
        advice = no_device_advice(platform.release())
        raise DeviceError(f"no output device found (PortAudio sees 0): {advice}")
    put(*table(HEADS, [_cells(device, config.audio.latency_s) for device in found]))
    return 0


def _cells(device: Device, latency_s: float) -> tuple[str, ...]:
    index = f"{device.index}{' *' if device.is_default else ''}"
    rates = f"{device.rate} Hz", _rate(device, latency_s)
    return index, device.name, device.host, str(device.n_channels), *rates


def _rate(device: Device, latency_s: float) -> str:
    """What it runs at when the player opens it; nothing is heard."""
    from csm_chat.audio.device import open_output
    from csm_chat.types import SAMPLE_RATE

    try:
        stream = open_output(str(device.index), latency_s)
    except DeviceError as error:
        return f"does not open ({error})"
    rate: int = stream.rate
    stream.close()
    return f"{rate} Hz" if rate == SAMPLE_RATE else f"{rate} Hz (resampled)"
