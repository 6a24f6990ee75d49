"""Write a trained codec as the program reads it, and clips through it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import soundfile
import torch
from safetensors.torch import save_file

from csm_chat.checkpoint.codec_files import SPECTRAL_CONFIG, SPECTRAL_WEIGHTS
from csm_chat.codec.spectral.analysis import frames_of
from csm_chat.codec.spectral.features import Mels
from csm_chat.codec.spectral.shapes import tensor_shapes
from csm_chat.codec.spectral.sizes import Sizes, config_fields
from csm_chat.errors import CheckpointError
from csm_chat.training.codec.data import Clip, floats, whole_frames
from csm_chat.training.codec.model import Model
from csm_chat.training.loop import LAST, load_checkpoint
from csm_chat.types import SAMPLE_RATE


def trained(out: Path) -> tuple[Sizes, Model]:
    """What a run's folder holds, its averaged weights. Raises CheckpointError."""
    path = out / LAST
    if not path.is_file():
        raise CheckpointError(f"{path}: not there; train first")
    content = load_checkpoint(path)
    sizes = Sizes(**content["settings"]["sizes"])
    model = Model(sizes)
    model.load_state_dict(content["ema"] or content["model"])
    return sizes, model.requires_grad_(False).eval()


def export(out: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write what a run's folder holds. Raises CheckpointError."""
    sizes, model = trained(out)
    state = model.state_dict()
    tensors = {name: state[name].to(dtype).contiguous() for name in tensor_shapes(sizes)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / SPECTRAL_WEIGHTS)
    config = json.dumps(config_fields(sizes), indent=1)
    (folder / SPECTRAL_CONFIG).write_text(config, encoding="utf-8")


@torch.no_grad()
def round_trips(model: Model, clips: Sequence[Clip], folder: Path, name: str) -> None:
    """Write what clips become, for ears: NAME_NN.wav and sentences.json.

    A `name` of "plain" leaves codebooks out, "original" all else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(clips):
        pcm = torch.from_numpy(whole_frames(floats(clip)))[None]
        heard = pcm if name == "original" else trip(model, clip, is_plain=name == "plain")
        samples = heard[0, : len(clip.pcm)].clamp(-1, 1).numpy()
        soundfile.write(folder / f"{name}_{number:02d}.wav", samples, SAMPLE_RATE)
    sentences = json.dumps([clip.text for clip in clips])
    (folder / "sentences.json").write_text(sentences, encoding="utf-8")


def trip(model: Model, clip: Clip, is_plain: bool = False) -> torch.Tensor:
    """A clip to codes and back, (1, n), with pitch and noise of the decoder's own."""
    frames = frames_of(whole_frames(floats(clip)), Mels(), clip.track.heard)
    if not is_plain:
        frames = model.quantizer.decode(model.quantizer.encode(frames))
    return model.spoken(frames).pcm
