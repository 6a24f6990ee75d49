"""Train a small Mimi on spoken sentences. Knows the codec, not the model that speaks in it.

What is exported is in Kyutai's layout and loads where Kyutai's does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from moshi.utils.compile import no_compile
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.checkpoint.sizes import read_json
from csm_chat.codec.files import KYUTAI_FILE, find_mimi
from csm_chat.errors import CheckpointError
from csm_chat.training.codec.adversary import Adversary
from csm_chat.training.codec.data import Crops, Recipe, held_out, stream
from csm_chat.training.codec.listener import Listener
from csm_chat.training.codec.losses import MELS, SpectralLoss, levels_distance, wave_distance
from csm_chat.training.codec.model import (
    Sizes,
    decoded,
    encoded,
    forget_embeddings,
    mimi_config,
    new_mimi,
    quantise,
)
from csm_chat.training.loop import LAST, Plan, Run, Stateful, load_checkpoint, pick_device
from csm_chat.training.speech.pitches import N_PITCHES, NO_PITCH
from csm_chat.training.speech.sounds import N_SOUNDS, SOUNDS_A_FRAME, sounds_loss

_COMMITMENT = 0.25
_ADVERSARIAL = 1.0
_FEATURES = 2.0
_SOUNDS = 1.0
_PITCHES = 1.0
_LEVELS = 1.0
_WAVES = 3.0
_MISHEARD = 2.0
_UNLIKE = 2.0


class CodecTask:
    """The codec with its losses and its held-out clips, for the loop."""

    def __init__(
        self,
        sizes: Sizes,
        recipe: Recipe,
        held_out: Mapping[str, Tensor],
        device: str = "cpu",
        adversary: Adversary | None = None,
        begin: Path | None = None,
        is_coded: bool = False,
    ) -> None:
        """`held_out`: (clips, samples) by the prefix of their figures, "" for the main ones.

        `begin` is a folder that `export` wrote, to begin with. `is_coded`: what sounds are coded as
        stays, and the decoder learns alone. Raises CheckpointError.
        """
        self.model = new_mimi(sizes)
        if begin is not None:
            _begin_at(self.model, sizes, begin)
        self._is_coded = is_coded
        if is_coded:
            model = self.model
            for coding in (model.encoder, model.encoder_transformer, model.downsample):
                coding.requires_grad_(False)
            model.quantizer.requires_grad_(False)
        else:  # of the training alone
            n_sounds = SOUNDS_A_FRAME * N_SOUNDS
            self.model.sounds_head = nn.Linear(sizes.code_width, n_sounds, bias=False)
            self.model.pitches_head = nn.Linear(sizes.code_width, N_PITCHES)
            self.model.levels_head = nn.Linear(sizes.code_width, MELS[0][1])
        self.settings = {"sizes": {**asdict(sizes), "strides": list(sizes.strides)}}
        self._adversary = adversary
        self._listener = Listener(device)
        self.extras: dict[str, Stateful] = {"listener": self._listener}
        if adversary is not None:
            self.extras["adversary"] = adversary
        self._recipe = recipe
        self._codebooks = sizes.codebooks
        self._device = device
        self._losses = SpectralLoss().to(device)
        self._held_out = held_out

    def loss(self, batch: Crops, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        pcm = torch.from_numpy(batch.pcm).to(self._device)
        depths = self._depths(len(pcm), step)
        if self._is_coded:
            self.model.quantizer.eval()
        with no_compile():
            with torch.set_grad_enabled(not self._is_coded):
                latents = encoded(self.model, pcm[:, None])
                with torch.autocast(pcm.device.type, enabled=False):
                    quantised, commitment, said = quantise(
                        self.model, latents.float(), depths, step
                    )
            heard = decoded(self.model, quantised)[:, 0].float()
        with torch.autocast(pcm.device.type, enabled=False):
            figures = self._losses(heard, pcm)
            pitches, shifts = (
                torch.from_numpy(x).to(self._device) for x in (batch.pitches, batch.shifts)
            )
            is_voiced = pitches != NO_PITCH
            figures["waves"] = wave_distance(heard, pcm, shifts, is_voiced)
        sounds = torch.from_numpy(batch.sounds).to(self._device)
        figures |= self._listener.losses(heard, pcm, sounds)
        figures["commitment"] = commitment
        loss = figures["spectral_loss"] + _COMMITMENT * commitment + _WAVES * figures["waves"]
        loss = loss + _MISHEARD * figures["misheard"] + _UNLIKE * figures["unlike"]
        if not self._is_coded:
            levels = self._losses.levels(pcm, pitches.shape[1])
            figures |= self._asked(said, sounds, pitches, levels)
            loss = loss + _SOUNDS * figures["sounds"] + _PITCHES * figures["pitches"]
            loss = loss + _LEVELS * figures["levels"]
        if self._adversary is not None:
            figures |= self._adversary.losses(heard, pcm)
            loss = loss + _ADVERSARIAL * figures["adversarial"] + _FEATURES * figures["features"]
        return loss, figures

    def _asked(
        self, said: Sequence[Tensor], sounds: Tensor, pitches: Tensor, levels: Tensor
    ) -> dict[str, Tensor]:
        """How well codes tell what a CSM can know of a text's sound, and whose voice it is.

        Codebook 0 phonemes, as Mimi's learns them of a recogniser of speech (Kyutai's Moshi, arXiv
        2410.00037, 3.3.2); codebook 1 pitch, which a decoder that is told it makes waves of; half
        of them the spectrum: nothing above 2 kHz could be read from codes that no one asked.
        """
        model, said = self.model, [each.float() for each in said]
        logits = model.sounds_head(said[0]).unflatten(-1, (SOUNDS_A_FRAME, N_SOUNDS))
        heights = model.pitches_head(said[1]).flatten(0, 1)
        return {
            "sounds": sounds_loss(logits, sounds),
            "pitches": functional.cross_entropy(heights, pitches.flatten()),
            "levels": levels_distance(model.levels_head(said[2]).float(), levels),
        }

    def _depths(self, n: int, step: int) -> Tensor:
        """How many codebooks each crop gets, (n,); 0: it passes unquantised."""
        recipe = self._recipe
        if self._is_coded:  # a CSM says all of them
            return torch.full((n,), self._codebooks, device=self._device)
        if step < recipe.plain_steps:
            return torch.zeros(n, dtype=torch.long, device=self._device)
        draw = torch.rand(n)
        some = torch.randint(1, self._codebooks, (n,))
        depths = torch.where(draw < recipe.whole_share, self._codebooks, some)
        depths = torch.where(draw > 1 - recipe.plain_share, 0, depths)
        return depths.to(self._device)

    def validate(self, model: Any) -> dict[str, float]:
        figures: dict[str, float] = {}
        forget_embeddings(model)
        with no_compile():
            for prefix, pcm in self._held_out.items():
                codes = model.encode(pcm[:, None].to(self._device))  # (clips, K, frames)
                figures[f"{prefix}loss"] = self._distance(model, codes, pcm)
                half = codes[:, : self._codebooks // 2]
                figures[f"{prefix}half_loss"] = self._distance(model, half, pcm)
                if not prefix:
                    for level, codebook in enumerate(codes.unbind(1)):
                        figures[f"use_{level}"] = perplexity(codebook, model.cardinality)
        forget_embeddings(model)
        return figures

    def _distance(self, model: Any, codes: Tensor, pcm: Tensor) -> float:
        heard = model.decode(codes)[:, 0]
        return float(self._losses(heard, pcm.to(self._device))["spectral_loss"])


def _begin_at(model: Any, sizes: Sizes, folder: Path) -> None:
    """Take over an exported codec. Raises CheckpointError."""
    if read_json(folder / "mimi_config.json") != mimi_config(sizes):
        raise CheckpointError(
            f"{folder}: a codec of other sizes; begin with one that was made here"
        )
    files = {stored.file for stored in find_mimi(folder, {}).values()}
    model.load_state_dict({name: x for file in files for name, x in load_file(file).items()})
    forget_embeddings(model)


def perplexity(codes: Tensor, entries: int) -> float:
    """How many entries are in use, counted by their share; 1 to `entries`."""
    shares = torch.bincount(codes.flatten(), minlength=entries) / codes.numel()
    return float(torch.special.entr(shares).sum().exp())


def export(out: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write what `out` holds, its averaged weights, in Kyutai's layout. Raises CheckpointError."""
    path = out / LAST
    if not path.is_file():
        raise CheckpointError(f"{path}: not there; train first")
    content = load_checkpoint(path)
    sizes = content["settings"]["sizes"]
    state = _stored(content["ema"] or content["model"], dtype)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / KYUTAI_FILE)
    config = mimi_config(Sizes(**{**sizes, "strides": tuple(sizes["strides"])}))
    (folder / "mimi_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _stored(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors as files hold them: entries in place of their sums, which few bits would blur."""
    out = {}
    for name, tensor in state.items():
        if name.startswith(("sounds_head", "pitches_head", "levels_head")):
            continue
        if name.endswith("embedding_sum"):
            usage = state[name.removesuffix("embedding_sum") + "cluster_usage"]
            tensor = tensor / usage.clamp(min=1e-5)[:, None]
        elif name.endswith(("cluster_usage", "_initialized")):
            tensor = torch.ones_like(tensor)
        out[name] = tensor.to(dtype).contiguous()
    return out


def train(
    plan: Plan,
    recipe: Recipe,
    n_workers: int = 1,
    is_adversarial: bool = False,
    begin: Path | None = None,
    is_coded: bool = False,
) -> int:
    """Train, or go on, with crops from `n_workers` processes; returns the step reached."""
    clips = {"": held_out("valid"), "voices_": held_out("voices")}
    torch.manual_seed(plan.seed)
    adversary = Adversary(plan.device) if is_adversarial else None
    task = CodecTask(Sizes(), recipe, clips, plan.device, adversary, begin, is_coded)
    run: Run[Crops] = Run(plan, task)
    return run.train(lambda first_step: stream(first_step, plan.seed, recipe, n_workers))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="codec", description="Train a small Mimi.")
    parser.add_argument("--out", type=Path, default=Path(".train/codec"), help="checkpoint, log")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=Recipe().batch, help="crops a step")
    parser.add_argument("--workers", type=int, default=1, help="processes that make crops")
    parser.add_argument("--total-steps", type=int, help="let the rate fall to zero by then, end")
    parser.add_argument("--adversarial", action="store_true", help="judges as well: for the end")
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument(
        "--begin", type=Path, metavar="FOLDER", help="an exported codec to begin with"
    )
    parser.add_argument(
        "--refine", type=Path, metavar="FOLDER", help="the same, and train its decoder alone"
    )
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="only write the codec")
    options = parser.parse_args(arguments)
    if options.export is not None:
        export(options.out, options.export)
        return 0
    plan = Plan(
        out=options.out,
        minutes=options.minutes,
        device=pick_device(options.device),
        seed=options.seed,
        learning_rate=options.learning_rate,
        warmup_steps=200,
        betas=(0.8, 0.99),
        weight_decay=0.0,
        muon="coder",
        total_steps=options.total_steps,
        ema_decay=0.999,
        bf16=True,
    )
    begin, is_coded = options.refine or options.begin, options.refine is not None
    plain_steps = Recipe().plain_steps if begin is None else 0
    recipe = Recipe(batch=options.batch, plain_steps=plain_steps)
    train(plan, recipe, options.workers, options.adversarial, begin, is_coded)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
