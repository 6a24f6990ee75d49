"""Whether a stretch of sound changes as speech does.

Detectors learned speech, so what they say of a tone, a constant or a square wave means nothing.
"""

from __future__ import annotations

import numpy as np

from csm_chat.types import SAMPLE_RATE, Pcm

FRAME_SAMPLES = 1024  # 43 ms
HOP_SAMPLES = 480
BAND_EDGES_HZ = np.geomspace(100, 4000, 17)
LOUD_RATIO = 10**-2.5  # frames 25 dB and more below the loudest are pauses, which tones have too
N_LOUD = 10  # 0.2 s; in less, where a tone begins counts as much as the tone
FLOOR_RATIO = 1e-4  # of a frame's power: what is below is as good as nothing


def spread_db(pcm: Pcm) -> float:
    """How much the shape of the spectrum moves: the deviation of a band's share, mean over bands.

    Level does not count. 0 for silence and for too little sound to tell.
    """
    if len(pcm) < FRAME_SAMPLES:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(pcm, FRAME_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(frames * np.hanning(FRAME_SAMPLES).astype(np.float32), axis=1)
    bins = np.round(BAND_EDGES_HZ * FRAME_SAMPLES / SAMPLE_RATE).astype(int)
    # up to the last edge, so that the last band ends there
    power = np.square(np.abs(spectrum[:, : bins[-1]]))
    bands = np.add.reduceat(power, bins[:-1], axis=1)  # (frames, bands)
    total = bands.sum(axis=1)
    loud = bands[total > LOUD_RATIO * total.max()]
    if len(loud) < N_LOUD:
        return 0.0
    shares = loud / loud.sum(axis=1, keepdims=True)
    decibels = 10 * np.log10(np.maximum(shares, FLOOR_RATIO))
    return float(decibels.std(axis=0).mean())
