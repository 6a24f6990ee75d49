"""Trains a small CSM on conversations made on the way; running it again goes on.

Puts data, codec, model and loss together; the steps themselves are the loop's.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csm_chat.checkpoint.sizes import CsmSizes, StackSizes, read_sizes
from csm_chat.conversation.reading import Lines, Reading
from csm_chat.conversation.tokenizer import load_tokenizer
from csm_chat.engine.torch.device import quick_dtype
from csm_chat.engine.torch.load import load_model
from csm_chat.engine.torch.model import Csm
from csm_chat.errors import UsageError
from csm_chat.training.csm.batch import (
    Batch,
    BatchSettings,
    Conversation,
    Draft,
    drafts,
    placed,
)
from csm_chat.training.csm.coded import CodedLine, CodedRecordings, encoded, encoded_talks
from csm_chat.training.csm.codes import Frozen, frozen_codec
from csm_chat.training.csm.known import Coded
from csm_chat.training.csm.losses import Losses, LossSettings, losses
from csm_chat.training.csm.model import CsmTrainer, new_csm
from csm_chat.training.csm.takes import take_figures
from csm_chat.training.csm.tokenizer import N_BASE_IDS, train_tokenizer, write_tokenizer
from csm_chat.training.export import PREPARED, codec_file, codec_sizes, export_codec, prepare
from csm_chat.training.loop import Plan, Run, Stateful, pick_device
from csm_chat.training.speech import corpus
from csm_chat.training.text.sentences import Split, sentences
from csm_chat.types import Tokenizer

_UNMEANT_IDS = 3  # ids of a codebook that the codec has no entry for, as in CSM-1B
_CONTEXT_ROWS = 2048
_TOKENIZER_SENTENCES = 20_000
_OF_CODES = ("audio_embeddings.", "codebook0_head.", "depth_heads.")  # parts of a CSM
_VALID_SEED = 1
_VALID_CONVERSATIONS = 24  # of each part
_N_TAKES = 8  # spoken of each part at a validation
_MAX_WORKERS = 64

_FIGURES = tuple(each.name for each in fields(Losses) if each.name != "total")

# backbone and depth decoder, by what --size says
_STACKS = {
    "tiny": (
        StackSizes(layers=2, width=64, mlp_width=128, heads=4, kv_heads=2, head_width=16),
        StackSizes(layers=1, width=32, mlp_width=64, heads=2, kv_heads=1, head_width=16),
    ),
    "small": (
        StackSizes(layers=6, width=256, mlp_width=640, heads=4, kv_heads=2, head_width=64),
        StackSizes(layers=2, width=192, mlp_width=512, heads=3, kv_heads=1, head_width=64),
    ),
    "medium": (
        StackSizes(layers=8, width=320, mlp_width=896, heads=5, kv_heads=1, head_width=64),
        StackSizes(layers=3, width=256, mlp_width=640, heads=4, kv_heads=1, head_width=64),
    ),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, on what, in which portions."""

    size: str = "small"
    codebooks: int | None = None  # the codec's first ones; None: all it has
    begin: Path | None = None  # folder of a CSM of these sizes to begin with; None: drawn weights
    n_merges: int = 0  # of the tokenizer; 0: the model spells
    loss: LossSettings = field(default_factory=LossSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    data: Path | None = None  # folder of recordings; None: espeak-ng speaks without end
    held_out: Path | None = None  # the same, to validate on
    n_single: int = 1500  # first steps of single lines: text and sound find each other sooner
    n_workers: int = 1  # processes that speak sentences


def sizes_of(name: str, codebooks: int, entries: int, text_vocab: int) -> CsmSizes:
    backbone, depth = _STACKS[name]
    return CsmSizes(
        backbone=backbone,
        depth=depth,
        text_vocab=text_vocab,
        audio_vocab=entries + _UNMEANT_IDS,
        codebooks=codebooks,
        entries=entries,
        context_rows=_CONTEXT_ROWS,
    )


class CsmTask:
    """A `loop.Task`: the losses of batches."""

    def __init__(
        self,
        model: CsmTrainer,
        held_out: Mapping[str, Sequence[Draft]],
        loss: LossSettings,
        device: torch.device,
    ) -> None:
        """`held_out` is what validation looks at, by a prefix of its figures."""
        self.model: nn.Module = model
        self.extras: Mapping[str, Stateful] = {}
        self._csm = model
        self.settings: Mapping[str, Any] = {"sizes": asdict(model.sizes)}
        self._loss, self._device = loss, device
        self._held_out = {
            name: [placed(each, device) for each in made] for name, made in held_out.items()
        }

    def loss(self, batch: Draft, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        found = losses(self._csm, placed(batch, self._device), self._loss)
        return found.total, {name: getattr(found, name) for name in _FIGURES}

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Losses on each part; and how takes of the last one end, spoken by the engine."""
        assert isinstance(model, CsmTrainer)
        figures: dict[str, float] = {}
        for name, batches in self._held_out.items():
            figures |= {f"{name}{key}": x for key, x in _mean_losses(model, batches).items()}
            figures |= {
                f"{name}{key}": x for key, x in take_figures(model, batches, _N_TAKES).items()
            }
        return figures


def _mean_losses(model: CsmTrainer, batches: Sequence[Batch]) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    sums = dict.fromkeys(_FIGURES, 0.0)
    n_targets = sum(int(batch.learned.sum()) for batch in batches)
    for batch in batches:
        found = losses(model, batch, LossSettings(depth_share=0.25), generator)
        share = int(batch.learned.sum()) / n_targets
        for name in sums:
            sums[name] += share * float(getattr(found, name))
    return sums


def train(plan: Plan, recipe: Recipe, codec: Path | None) -> int:
    """Train, or go on; returns the step reached. `codec` is a folder, needed the first time.

    Raises UsageError when the run in `plan.out` was begun with another codec or other sizes.
    """
    prepared = plan.out / PREPARED
    sizes = settle(prepared, recipe, codec)
    device = torch.device(plan.device)
    tokenizer = _tokenizer(prepared)
    held_out = {
        name: [
            *drafts(islice(made, _VALID_CONVERSATIONS), tokenizer, sizes.codebooks, BatchSettings())
        ]
        for name, made in _held_out(recipe, frozen_codec(prepared, device)).items()
    }
    model = CsmTrainer(begun(sizes, plan.seed, recipe.begin), sizes)
    task = CsmTask(model, held_out, recipe.loss, device)
    run: Run[Draft] = Run(plan, task)

    def stream(first_step: int) -> Iterator[Draft]:
        own = _Share(prepared, recipe, sizes.codebooks, plan.seed)
        make = partial(own.drafts, first_step)
        return corpus.background(make, n_workers=recipe.n_workers, n_ahead=4 * recipe.n_workers)

    return run.train(stream)


def settle(prepared: Path, recipe: Recipe, codec: Path | None) -> CsmSizes:
    """What a run is of: tokenizer, sizes and codec, as they will be shipped, in its own folder.

    Settled once. Raises UsageError when asked for others later.
    """
    if not (prepared / "config.json").is_file():
        if codec is None:
            raise UsageError(f"{prepared.parent}: no run here yet; give --codec FOLDER to begin it")
        _begin(prepared, recipe, codec)
    sizes = read_sizes(prepared)
    codebooks = recipe.codebooks or sizes.codebooks
    if sizes != sizes_of(recipe.size, codebooks, sizes.entries, N_BASE_IDS + recipe.n_merges):
        raise UsageError(
            f"{prepared.parent}: this run is of other sizes; give the --size, --codebooks and "
            "--merges it was begun with, or another --out"
        )
    if codec is not None and not _is_of(prepared, codec, sizes.codebooks):
        raise UsageError(
            f"{prepared.parent}: this run was begun with another codec; leave --codec out, or give "
            "another --out"
        )
    return sizes


def _begin(prepared: Path, recipe: Recipe, codec: Path) -> None:
    has_codebooks, entries = codec_sizes(codec)
    codebooks = recipe.codebooks or has_codebooks
    n_sentences = _TOKENIZER_SENTENCES if recipe.n_merges else 0
    tokenizer = train_tokenizer(islice(sentences(0, "train"), n_sentences), recipe.n_merges)
    text_vocab = N_BASE_IDS + recipe.n_merges
    sizes = sizes_of(recipe.size, codebooks, entries, text_vocab)
    with tempfile.TemporaryDirectory() as folder:
        prepare(sizes, write_tokenizer(tokenizer, Path(folder)), codec, prepared, torch.bfloat16)


def begun(sizes: CsmSizes, seed: int, folder: Path | None) -> Csm:
    """A CSM to train: of drawn weights, or that of a folder. Raises UsageError, CheckpointError.

    Of one that speaks in other codes all is taken but what knows these: it can read.
    """
    if folder is None:
        return new_csm(sizes, seed)
    own = read_sizes(folder)
    vocab = {name: getattr(sizes, name) for name in ("audio_vocab", "codebooks", "entries")}
    if replace(own, **vocab) != sizes:
        raise UsageError(f"{folder}: a CSM of other sizes; begin with one of this run's")
    if own == sizes:
        return load_model(folder, sizes).requires_grad_(True)
    csm = new_csm(sizes, seed)
    known = load_model(folder, own).state_dict()
    taken = {name: x for name, x in known.items() if not name.startswith(_OF_CODES)}
    csm.load_state_dict(csm.state_dict() | taken)
    return csm


def _is_of(prepared: Path, codec: Path, codebooks: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        export_codec(codec, Path(folder), codebooks, torch.bfloat16)
        return codec_file(prepared).read_bytes() == codec_file(Path(folder)).read_bytes()


def _tokenizer(prepared: Path) -> Tokenizer:
    """Of texts read as a session reads them."""
    return Lines(load_tokenizer(prepared), Reading())


def _held_out(recipe: Recipe, codec: Frozen) -> dict[str, Iterator[Conversation]]:
    """Conversations to validate on, by a prefix of their figures."""
    if recipe.held_out is not None:
        return {"": CodedRecordings(recipe.held_out, codec).conversations(_VALID_SEED)}
    splits: dict[str, Split] = {"": "valid", "voices_": "voices"}
    return {
        name: encoded_talks(corpus.conversations(_VALID_SEED, split), codec)
        for name, split in splits.items()
    }


@dataclass(frozen=True, slots=True)
class _Share:
    """What a worker makes."""

    prepared: Path
    recipe: Recipe
    codebooks: int
    seed: int

    def drafts(self, first_step: int, worker: int, n_given: int) -> Iterator[Draft]:
        """A run that goes on draws new conversations, whatever it had drawn ahead of its steps."""
        assert worker < _MAX_WORKERS, worker
        step = first_step + n_given * self.recipe.n_workers
        own = ((self.seed + 1) * 1_000_003 + step) * _MAX_WORKERS + worker
        n_single = max(0, self.recipe.n_single - step) // self.recipe.n_workers
        batch = self.recipe.batch
        torch.set_num_threads(1)
        clips, conversations = self._spoken(own)
        single = replace(batch, merged_share=0)
        yield from islice(self._drafts(_single_lines(clips), single, own), n_single)
        yield from self._drafts(conversations, batch, own)

    def _spoken(self, seed: int) -> tuple[Iterator[Coded], Iterator[Conversation]]:
        codec = frozen_codec(self.prepared, torch.device("cpu"), quick_dtype())
        if self.recipe.data is not None:
            recordings = CodedRecordings(self.recipe.data, codec)
            return recordings.clips(seed), recordings.conversations(seed)
        made = corpus.conversations(seed, "train")
        return encoded(corpus.clips(seed, "train"), codec), encoded_talks(made, codec)

    def _drafts(
        self, lines: Iterable[Conversation], batch: BatchSettings, seed: int
    ) -> Iterator[Draft]:
        return drafts(lines, _tokenizer(self.prepared), self.codebooks, batch, seed=seed)


def _single_lines(clips: Iterable[Coded]) -> Iterator[Conversation]:
    for number, clip in enumerate(clips):
        yield (CodedLine(number % corpus.N_SPEAKER_IDS, clip),)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    device = pick_device(options.device)
    plan = Plan(
        out=options.out,
        minutes=options.minutes,
        device=device,
        seed=options.seed,
        learning_rate=options.learning_rate,
        warmup_steps=200,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        muon=".layers.",  # the loss falls several times as fast as with AdamW alone
        total_steps=options.total_steps,
        ema_decay=0.999,
        bf16=True,
        validate_every=options.validate_every,
    )
    recipe = Recipe(
        size=options.size,
        codebooks=options.codebooks,
        begin=options.begin,
        n_merges=options.merges,
        batch=BatchSettings(batch_rows=options.batch_rows),
        data=options.data,
        held_out=options.held_out,
        n_single=options.single_steps,
        n_workers=options.workers,
    )
    train(plan, recipe, options.codec or options.begin)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="csm", description="Train a small CSM.")
    parser.add_argument("--codec", type=Path, metavar="FOLDER", help="what speech is coded with")
    parser.add_argument(
        "--begin", type=Path, metavar="FOLDER", help="an exported CSM to begin with, and its codec"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="recordings (`teach`)")
    parser.add_argument("--held-out", type=Path, metavar="FOLDER", help="others, to validate on")
    parser.add_argument("--out", type=Path, default=Path(".train/csm"), help="checkpoint, log")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=_STACKS, default=Recipe().size)
    parser.add_argument("--codebooks", type=int, help="of the codec, from its first; default: all")
    parser.add_argument("--merges", type=int, default=0, help="of the tokenizer; 0: it spells")
    parser.add_argument("--batch-rows", type=int, default=BatchSettings().batch_rows)
    parser.add_argument("--single-steps", type=int, default=Recipe().n_single, help="first ones")
    parser.add_argument("--workers", type=int, default=1, help="processes that speak sentences")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--total-steps", type=int, help="let the rate fall to zero by then, end")
    parser.add_argument("--validate-every", type=int, default=1000, help="steps")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
