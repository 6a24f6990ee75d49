"""Train a spectral codec on spoken turns."""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csm_chat.codec.spectral.analysis import frames_of
from csm_chat.codec.spectral.features import Mels
from csm_chat.codec.spectral.quantizer import Quantizer
from csm_chat.codec.spectral.sizes import HOP, WINDOW, Sizes
from csm_chat.codec.spectral.waves import Waves
from csm_chat.training.codec.adversary import Adversary
from csm_chat.training.codec.data import (
    Clip,
    Codes16,
    Crops,
    Encode,
    Recipe,
    Shelf,
    floats,
    whole_frames,
)
from csm_chat.training.codec.export import export, round_trips, trained
from csm_chat.training.codec.fit import fit, heard, report
from csm_chat.training.codec.losses import SpectralLoss
from csm_chat.training.codec.model import Model
from csm_chat.training.codec.source import given_source
from csm_chat.training.loop import LAST, Plan, Run, Stateful, load_checkpoint, pick_device
from csm_chat.types import FRAME_SAMPLES, Pcm

log = logging.getLogger(__name__)

_BEGINNING = 2 * FRAME_SAMPLES  # of a crop, which lacks what its convolutions would have seen
_TRIPS, _SHORT = 48, 20  # clips for ears, and characters of those too short to judge by
_ANALYSIS = "analysis.pt"
_LISTENER_STEPS = 1000
_DECODER = "decoder"  # of the model


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the parts in the sum."""

    log_magnitude: float = 1.0
    mel: float = 1.0
    convergence: float = 0.3
    waves: float = 0.2
    texture: float = 0.5
    hz: float = 3.0
    adversarial: float = 0.3
    features: float = 0.6


class CodecTask:
    """The decoder with its losses and held-out clips, for the loop; codes are given."""

    def __init__(
        self,
        model: Model,
        sizes: Sizes,
        held_out: Sequence[Clip],
        device: str = "cpu",
        adversary: Adversary | None = None,
    ) -> None:
        self.model = model
        self.settings = {"sizes": asdict(sizes)}
        self.extras: dict[str, Stateful] = {} if adversary is None else {"adversary": adversary}
        self._adversary, self._device = adversary, device
        self._losses = SpectralLoss().to(device)
        self._weights = asdict(Weights())
        self._held_out = held_out

    def loss(self, batch: Crops, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        pcm, codes, hz, phase, voiced = (
            torch.from_numpy(getattr(batch, each.name)).to(self._device) for each in fields(Crops)
        )
        with torch.no_grad(), torch.autocast(pcm.device.type, enabled=False):
            frames = self.model.quantizer.decode(codes.long())
            source = given_source(hz, phase, pcm.shape[1])
        spoken = self.model.spoken(frames, source)
        with torch.autocast(pcm.device.type, enabled=False):
            ours, theirs, pulses = (x[:, _BEGINNING:] for x in (spoken.pcm, pcm, spoken.pulses))
            figures = self._losses(ours, theirs, pulses)
            figures["hz"] = _octaves_apart(spoken.hz, hz, voiced)
            if self._adversary is not None:
                figures |= self._adversary.losses(ours, theirs)
        parts = [w * figures[name] for name, w in self._weights.items() if name in figures]
        return torch.stack(parts).sum(), figures

    def validate(self, model: Any) -> dict[str, float]:
        """Round trips of held-out clips, with pitch and noise of its own."""
        figures: dict[str, list[float]] = {}
        for clip in self._held_out:
            pcm = torch.from_numpy(whole_frames(floats(clip)))[None].to(self._device)
            codes = torch.from_numpy(clip.codes).long()[None].to(self._device)
            spoken = model.spoken(model.quantizer.decode(codes))
            for name, value in self._losses(spoken.pcm, pcm, spoken.pulses).items():
                figures.setdefault(name, []).append(float(value))
        return {name: sum(values) / len(values) for name, values in figures.items()}


def _octaves_apart(said: Tensor, hz: Tensor, voiced: Tensor) -> Tensor:
    """How far pitch is from the original's where windows end, in octaves."""
    ends = slice(WINDOW // HOP, WINDOW // HOP + said.shape[1])
    apart = (said.log2() - hz[:, ends].log2()).abs() * voiced[:, ends]
    return apart.sum() / voiced[:, ends].sum().clamp(min=1)


def fitted(out: Path, sizes: Sizes, data: Path, held_out: Sequence[Clip]) -> Quantizer:
    """What turns clips into codes: the run folder's, or one made of the clips there are by now."""
    path = out / _ANALYSIS
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        quantizer = fit(sizes, heard(Shelf(data).clips), _LISTENER_STEPS)
        log.info("codes of held-out voices: %s", report(quantizer, heard(held_out)))
        torch.save(quantizer.state_dict(), path)
    quantizer = Quantizer(sizes)
    quantizer.load_state_dict(torch.load(path, weights_only=True))
    return quantizer.requires_grad_(False)


def decoder_of(out: Path) -> dict[str, Tensor]:
    """The averaged weights of another run's decoder, whatever codes it was taught on.

    Raises CheckpointError.
    """
    content = load_checkpoint(out / LAST)
    weights: dict[str, Tensor] = content["ema"] or content["model"]
    begins = f"{_DECODER}."
    return {name.removeprefix(begins): x for name, x in weights.items() if name.startswith(begins)}


def encoder(quantizer: Quantizer) -> Encode:
    """Turns clips into codes, for the shelf."""
    mels = Mels()

    def encode(pcm: Pcm, waves: Waves) -> Codes16:
        codes = quantizer.encode(frames_of(pcm, mels, waves))[0]
        return codes.to(torch.int16).numpy()

    return encode


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="codec", description="Train a spectral codec.")
    parser.add_argument("--data", type=Path, help="folder of spoken turns")
    parser.add_argument("--held-out", type=Path, help="the same, of voices never trained on")
    parser.add_argument("--out", type=Path, default=Path(".train/codec"), help="checkpoint, log")
    parser.add_argument("--begin", type=Path, help="a run whose decoder is to be gone on with")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=Recipe().batch, help="crops a step")
    parser.add_argument("--total-steps", type=int, help="let the rate fall to zero by then, end")
    parser.add_argument("--adversarial", action="store_true", help="judges as well: for the end")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--trips", type=Path, metavar="FOLDER", help="only write round trips")
    parser.add_argument("--name", default="trip", help="of these: trip, plain or original")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="only write the codec")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.export is not None:
        export(options.out, options.export)
        return 0
    held_out = Shelf(options.held_out).clips
    if options.trips is not None:
        clips = [clip for clip in held_out if len(clip.text) > _SHORT][:_TRIPS]
        round_trips(trained(options.out)[1], clips, options.trips, options.name)
        return 0
    device = pick_device(options.device)
    plan = Plan(
        out=options.out,
        minutes=options.minutes,
        device=device,
        seed=options.seed,
        learning_rate=options.learning_rate,
        warmup_steps=100,
        betas=(0.8, 0.99),
        weight_decay=0.0,
        total_steps=options.total_steps,
        ema_decay=0.998,
        bf16=True,
        checkpoint_minutes=3,
        validate_every=500,
    )
    torch.manual_seed(plan.seed)
    sizes = Sizes()
    quantizer = fitted(plan.out, sizes, options.data, held_out)
    encode = encoder(copy.deepcopy(quantizer))  # the model's own goes to its device
    judged = Shelf(options.held_out, encode).clips[:16]
    shelf, recipe = Shelf(options.data, encode), Recipe(batch=options.batch)
    log.info("%.2f hours of speech", shelf.hours)
    adversary = Adversary(device) if options.adversarial else None
    model = Model(sizes, quantizer)
    if options.begin is not None:
        model.get_submodule(_DECODER).load_state_dict(decoder_of(options.begin))
    task = CodecTask(model, sizes, judged, device, adversary)
    run: Run[Crops] = Run(plan, task)
    run.train(lambda first_step: shelf.batches(first_step, plan.seed, recipe))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
