"""What a codec hears of whole clips."""

from __future__ import annotations

import torch

from csm_chat.codec.spectral.features import Mels
from csm_chat.codec.spectral.quantizer import Frames, contour_of
from csm_chat.codec.spectral.sizes import HOP, STEPS, WINDOW
from csm_chat.codec.spectral.waves import Waves, waves_of
from csm_chat.types import FRAME_SAMPLES, Pcm


def frames_of(pcm: Pcm, mels: Mels, waves: Waves | None = None) -> Frames:
    """Of (n,) samples of whole frames, as a batch of one; `waves` where they are known."""
    n = len(pcm) // FRAME_SAMPLES
    part = (waves or waves_of(pcm)).part(WINDOW // HOP, n * STEPS)
    hz, voiced = (torch.from_numpy(x)[None] for x in (part.hz, part.is_voiced))
    return Frames(mels(torch.from_numpy(pcm)[None]), contour_of(hz, voiced))
