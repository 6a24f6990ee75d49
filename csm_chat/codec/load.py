"""Loads the codec of a checkpoint folder: Mimi, or the one its config names."""

from __future__ import annotations

from pathlib import Path

from csm_chat.checkpoint.codec_files import is_spectral
from csm_chat.types import Codec


def load_codec(folder: Path, codebooks: int, device: str = "cpu") -> Codec:
    """The folder's codec, in float32, to speak in `codebooks`. Raises CheckpointError.

    A spectral one computes on the cpu wherever the model does: a frame takes it milliseconds.
    """
    if is_spectral(folder):
        from csm_chat.codec.spectral.codec import load_spectral

        return load_spectral(folder, codebooks)
    from csm_chat.codec.mimi import load_codec as load_mimi

    return load_mimi(folder, codebooks, device)
