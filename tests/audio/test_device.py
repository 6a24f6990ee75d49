import logging
import os
from collections.abc import Sequence

import pytest

from csm_chat.audio.device import Device, find_device, no_device_advice, pick_format, stderr_to_log
from csm_chat.errors import DeviceError

LINUX = (
    Device(0, "HDA Intel: ALC662 Analog (hw:0,0)", "ALSA", 2, 44_100, False),
    Device(3, "USB Headset: Audio (hw:1,0)", "ALSA", 2, 48_000, False),
    Device(11, "default", "ALSA", 128, 44_100, True),
)
WINDOWS = (
    Device(1, "Speakers (USB Headset)", "MME", 2, 44_100, True),
    Device(5, "Speakers (USB Headset)", "Windows DirectSound", 2, 44_100, False),
    Device(9, "Speakers (USB Headset)", "Windows WASAPI", 2, 48_000, False),
    Device(10, "Speakers (Realtek)", "Windows WASAPI", 2, 48_000, False),
)


@pytest.mark.parametrize(
    ("wanted", "available", "index"),
    [
        ("default", LINUX, 11),
        ("3", LINUX, 3),
        ("usb headset", LINUX, 3),
        ("USB", LINUX, 3),
        ("intel analog", LINUX, 0),
        ("default", WINDOWS, 1),
        ("usb", WINDOWS, 1),  # the one of the default's host API
        ("usb wasapi", WINDOWS, 9),
        ("realtek", WINDOWS, 10),
    ],
)
def test_devices_are_found_by_index_or_words(
    wanted: str, available: Sequence[Device], index: int
) -> None:
    assert find_device(wanted, available).index == index


def test_an_exact_name_wins_over_longer_ones() -> None:
    longer = Device(12, "default surround", "ALSA", 6, 48_000, False)
    assert find_device("DEFAULT surround", (*LINUX, longer)).index == 12
    named_default = Device(13, "Default", "Core Audio", 2, 48_000, False)
    assert find_device("Default", (longer, named_default)).index == 13


@pytest.mark.parametrize(
    ("wanted", "available", "words"),
    [
        ("hw:", LINUX, ["0 HDA Intel", "3 USB Headset", "give the number"]),
        ("bluetooth", LINUX, ['"bluetooth"', "0 HDA Intel", "11 default"]),
        ("7", LINUX, ['"7"', "3 USB Headset"]),
        ("default", (LINUX[0],), ["no default", "0 HDA Intel"]),
        ("default", (), ["PortAudio sees 0"]),
        ("usb", (), ["PortAudio sees 0"]),
    ],
)
def test_what_is_not_found_is_one_line_with_what_there_is(
    wanted: str, available: Sequence[Device], words: list[str]
) -> None:
    with pytest.raises(DeviceError) as caught:
        find_device(wanted, available)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ({(24_000, 1), (24_000, 2), (48_000, 1)}, (24_000, 1)),
        ({(24_000, 2), (48_000, 1)}, (24_000, 2)),
        ({(44_100, 1), (48_000, 1), (96_000, 1)}, (96_000, 1)),
        ({(44_100, 2), (48_000, 2)}, (48_000, 2)),
        ({(44_100, 2)}, (44_100, 2)),
    ],
)
def test_the_first_accepted_rate_is_taken_mono_if_it_may_be(
    accepted: set[tuple[int, int]], chosen: tuple[int, int]
) -> None:
    rates = (24_000, 96_000, 48_000, 44_100)
    assert pick_format(LINUX[0], rates, lambda *wanted: wanted in accepted) == chosen


def test_a_device_that_takes_no_rate_is_named() -> None:
    with pytest.raises(DeviceError, match=r"Headset.*24000, 48000 Hz"):
        pick_format(LINUX[1], (24_000, 48_000, 48_000), lambda rate, channels: False)


def test_advice_knows_wsl_and_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert "libasound2-plugins" in no_device_advice("5.15.90.1-microsoft-standard-WSL2")
    assert "plug one in" in no_device_advice("6.1.0-18-amd64")
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 22")
    assert "PULSE_SERVER" in no_device_advice("6.1.0-18-amd64")


def test_what_c_code_says_goes_to_the_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "csm_chat.audio.device"), stderr_to_log():
        os.write(2, b"ALSA lib pcm.c:2666: Unknown PCM\nCannot connect\n")
    assert caplog.messages == ["ALSA lib pcm.c:2666: Unknown PCM", "Cannot connect"]
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


def test_standard_error_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError), stderr_to_log():
        raise DeviceError("gone")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_a_closed_standard_error_is_no_obstacle() -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with stderr_to_log():
            ran = True
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert ran
