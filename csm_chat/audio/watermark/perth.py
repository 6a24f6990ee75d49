"""Marks by Resemble AI's Perth: its networks and weights, on the CPU. It takes no key.

Perth's own loader needs pkg_resources, librosa and scipy, for a resampler and filters that are not
used here. So its networks are imported past it, as a package of their own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from csm_chat.audio.clips import resample
from csm_chat.errors import WatermarkError
from csm_chat.types import SAMPLE_RATE, Pcm

if TYPE_CHECKING:
    import torch

# hparams.yaml of the weights, and perth_net_implicit/utils.py
RATE_HZ = 32_000
N_FFT = 2048
HOP_SAMPLES = 320
HIDDEN = 256
BANDS = N_FFT // 2 * 2000 // (RATE_HZ // 2)  # marked: those below 2 kHz
FLOOR, FLOOR_DB, RANGE_DB = 1e-9, -180.0, 195.0  # a magnitude of 0 dB is 180 / 195

WEIGHTS = "perth_net/pretrained/implicit/perth_net_250000.pth.tar"
NETWORKS = "perth_net_implicit"


class Perth:
    """Marks and finds them; 0.02 s of one core's time a second of audio to mark.

    Raises WatermarkError if resemble-perth is not installed or has other networks.
    """

    name = "perth"
    words = "perth"
    piece_samples = 2 * SAMPLE_RATE
    # The network sees 15 frames to each side and a frame's window half as much again: 0.2 s. Whole
    # hops, so that the frames of all pieces fall where the whole signal's do.
    before_samples = after_samples = SAMPLE_RATE // 4
    window_samples = SAMPLE_RATE
    step_samples = SAMPLE_RATE // 2
    # The highest of 2195 windows of unmarked speech had 0.66, as mp3 0.67, as ogg 0.75; the lowest
    # of as many marked ones 0.98.
    threshold = 0.7

    def __init__(self) -> None:
        self._state = _state()
        self._encoder = self._network("encoder")

    def mark(self, pcm: Pcm) -> Pcm:
        """Only the mark is resampled; what is above its bands stays as it is."""
        import torch

        there = _padded(resample(pcm, SAMPLE_RATE, RATE_HZ))
        with torch.inference_mode():
            spectrum = _spectrum(there)
            magnitude, _ = self._encoder(_scaled(spectrum)[None])
            power = ((magnitude[0] * RANGE_DB + FLOOR_DB) / 20).clip(max=10)
            marked = torch.istft(
                torch.polar(10.0**power, torch.angle(spectrum)),
                *(N_FFT, HOP_SAMPLES),
                window=_window(),
                length=len(there),
            ).numpy()
        change = resample(marked - there, RATE_HZ, SAMPLE_RATE)[: len(pcm)]
        return pcm + np.pad(change, (0, len(pcm) - len(change)))

    def confidences(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        import torch

        there = np.stack([_padded(resample(each, SAMPLE_RATE, RATE_HZ)) for each in windows])
        with torch.inference_mode():
            found = self._decoder(_scaled(_spectrum(there)))
        confidences: npt.NDArray[np.float32] = found.clip(0, 1).numpy()
        return confidences

    @cached_property
    def _decoder(self) -> Any:
        return self._network("decoder")

    def _network(self, name: str) -> Any:
        module = importlib.import_module(f"{NETWORKS}.model.{name}")
        network = getattr(module, name.capitalize())(HIDDEN, BANDS)
        prefix = f"{name}."
        state = {k.removeprefix(prefix): v for k, v in self._state.items() if k.startswith(prefix)}
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise _broken(error) from error
        return network.eval()


def _state() -> dict[str, torch.Tensor]:
    """Perth's tensors, read as they are used; its networks can be imported after that."""
    import torch

    folder = _folder()
    try:
        _make_importable(folder / "perth_net" / NETWORKS)
        checkpoint = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True, mmap=True)
        state: dict[str, torch.Tensor] = checkpoint["model"]
    except (OSError, ImportError, RuntimeError, KeyError) as error:
        raise _broken(error) from error
    return state


def _folder() -> Path:
    """Where perth is. Finding it does not import it."""
    spec = importlib.util.find_spec("perth")
    if spec is None or not spec.submodule_search_locations:
        raise WatermarkError(
            "watermark: resemble-perth is not installed: pip install resemble-perth, "
            "or set watermark.method to off"
        )
    return Path(spec.submodule_search_locations[0])


def _make_importable(folder: Path) -> None:
    if NETWORKS in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        NETWORKS, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None, folder
    package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    sys.modules[NETWORKS] = package


def _broken(error: Exception) -> WatermarkError:
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    return WatermarkError(
        f"watermark: resemble-perth does not load ({words}): pip install --force-reinstall "
        "resemble-perth==1.0.1, or set watermark.method to off"
    )


def _padded(pcm: Pcm) -> Pcm:
    """Long enough for a frame."""
    return np.pad(pcm, (0, max(0, N_FFT - len(pcm))))


def _spectrum(pcm: npt.NDArray[np.float32]) -> torch.Tensor:
    """(samples) to (bins, frames), or a number of them at once."""
    import torch

    return torch.stft(
        torch.from_numpy(pcm), N_FFT, HOP_SAMPLES, window=_window(), return_complex=True
    )


def _scaled(spectrum: torch.Tensor) -> torch.Tensor:
    """Magnitudes as the networks take them, 0 at FLOOR_DB."""
    import torch

    decibels = 20 * torch.log10(spectrum.abs().clip(min=FLOOR))
    return (decibels - FLOOR_DB) / RANGE_DB


def _window() -> torch.Tensor:
    import torch

    return torch.hann_window(N_FFT)
