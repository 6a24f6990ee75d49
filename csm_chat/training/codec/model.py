"""A spectral codec whose decoder learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from csm_chat.codec.spectral.nets import TAIL, Decoder, overlapped
from csm_chat.codec.spectral.quantizer import Frames, Quantizer
from csm_chat.codec.spectral.sizes import Sizes
from csm_chat.training.codec.source import own_source


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """What the decoder made."""

    pcm: Tensor  # (B, n)
    pulses: Tensor  # (B, n), of it what pulses made
    hz: Tensor  # (B, steps), the pitch it says


class Model(nn.Module):
    def __init__(self, sizes: Sizes, quantizer: Quantizer | None = None) -> None:
        super().__init__()
        self.decoder = Decoder(sizes)
        self.quantizer = (quantizer or Quantizer(sizes)).requires_grad_(False)

    def spoken(self, frames: Frames, source: Tensor | None = None) -> Spoken:
        """Say frames, with pulses and noise that are given, (2, B, n + TAIL), or its own."""
        colours, gains, hz = self.decoder(frames)
        with torch.autocast(hz.device.type, enabled=False):
            pulses, noise = own_source(hz) if source is None else source
            voiced = overlapped(self.decoder.coloured(pulses, colours))
            noisy = overlapped(self.decoder.coloured(noise, gains))
        n = voiced.shape[1] - TAIL
        return Spoken((voiced + noisy)[:, :n], voiced[:, :n], hz)
