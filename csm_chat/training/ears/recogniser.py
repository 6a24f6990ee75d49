"""A small network that writes down what it hears, by CTC over letters. Knows no codec and no CSM.

It is trained on the clips of the corpus, with their spectra changed at random, and judges codecs
and models by their words.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import count, islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm_chat.errors import CheckpointError, CsmChatError
from csm_chat.printing import put
from csm_chat.training.ears.augment import altered, with_noise
from csm_chat.training.ears.lexicon import Lexicon, count_words
from csm_chat.training.ears.measures import character_errors, normalise
from csm_chat.training.ears.recogniser_net import (
    HOP,
    LETTERS,
    STRIDE,
    Mels,
    Network,
    Sizes,
    levelled,
    spelled,
)
from csm_chat.training.loop import LAST, Plan, Run, Stateful, load_checkpoint, pick_device
from csm_chat.training.speech.corpus import Clip, background, clips
from csm_chat.training.speech.sounds import NO_SOUND, sounds_at, sounds_loss
from csm_chat.training.text.sentences import sentences
from csm_chat.training.text.spoken import heard_words
from csm_chat.types import SAMPLE_RATE, Pcm

MARGIN_S = 0.2  # of silence around a clip
BATCH = 32  # clips
POOL = 16  # batches drawn together, to put clips of one length together
SPEEDS = (0.92, 1.08)
VALID_SEED = 10_000
N_VALID = 100
SUFFIX = ".npz"  # of an exported one
SIZES, WORDS = "sizes", "words"  # entries of it
N_COUNTED = 300_000  # sentences whose words are known
STEP_SAMPLES = HOP * STRIDE
SOUNDS_WEIGHT = 0.5  # of telling phonemes, which are known moment by moment, unlike letters


class Recogniser:
    """A trained network, to hear with, and the words it knows."""

    def __init__(
        self, network: Network, device: str = "cpu", lexicon: Lexicon | None = None
    ) -> None:
        """Without a lexicon it spells what it hears."""
        self._network = network.to(device).eval()
        self._lexicon = lexicon
        self._mels = Mels().to(device)
        self._device = device

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Recogniser:
        """From a folder that it was trained in, or a file of `export`. Raises CheckpointError."""
        file = path / LAST if path.is_dir() else path
        network, counts = _read(file)
        return cls(network, device, Lexicon(counts, LETTERS))

    @torch.inference_mode()
    def hear(self, pcm: Pcm) -> str:
        """The words of a clip: lower-case letters, apostrophes, spaces."""
        margin = round(MARGIN_S * SAMPLE_RATE)
        samples = torch.from_numpy(np.pad(pcm.astype(np.float32), margin)).to(self._device)
        logits: Tensor = self._network(levelled(self._mels(samples[None])))
        if self._lexicon is None:
            return spelled(logits[0].argmax(-1).tolist())
        return self._lexicon.words(logits[0].log_softmax(-1).cpu().numpy())


def _read(file: Path) -> tuple[Network, Mapping[str, int]]:
    try:
        sizes, state, counts = _exported(file) if file.suffix == SUFFIX else _trained(file)
        network = Network(Sizes(**sizes))
        network.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError, OSError, ValueError, BadZipFile) as error:
        raise CheckpointError(f"{file}: no recogniser of this program; train one") from error
    return network, counts


Stored = tuple[Mapping[str, Any], Mapping[str, Tensor], Mapping[str, int]]


def _trained(file: Path) -> Stored:
    content = load_checkpoint(file)
    state = content["ema"] or content["model"]
    return content["settings"]["sizes"], state, _known_words(file.parent)


def _exported(file: Path) -> Stored:
    with file.open("rb") as content, np.load(content) as stored:
        arrays = {name: stored[name] for name in stored.files}
    sizes, counts = (json.loads(arrays.pop(name).tobytes()) for name in (SIZES, WORDS))
    return sizes, {name: torch.from_numpy(x).float() for name, x in arrays.items()}, counts


def _known_words(out: Path) -> Mapping[str, int]:
    """How often the words of many sentences occur; counted once, in a minute and a half."""
    file = out / f"{WORDS}.json"
    if not file.is_file():
        said = (normalise(heard_words(each)) for each in islice(sentences(0, "train"), N_COUNTED))
        file.write_text(json.dumps(count_words(said)), encoding="utf-8")
    counts: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    return counts


def export(out: Path, file: Path) -> None:
    """Write what `out` holds, the averaged weights in float16. Raises CheckpointError."""
    sizes, state, counts = _trained(out / LAST)
    entries: dict[str, Any] = {name: tensor.half().numpy() for name, tensor in state.items()}
    for name, content in ((SIZES, sizes), (WORDS, counts)):
        entries[name] = np.frombuffer(json.dumps(content).encode(), np.uint8)
    np.savez_compressed(file, **entries)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    pcm: Pcm  # (B, n), zeros after each clip's end
    n_samples: npt.NDArray[np.int64]  # (B,)
    letters: npt.NDArray[np.int64]  # (B, longest), classes; zeros after each text's end
    n_letters: npt.NDArray[np.int64]  # (B,)
    sounds: npt.NDArray[np.int64]  # (B, steps), see `sounds`


def classes(text: str) -> list[int]:
    """The classes of a text as it is read out."""
    return [LETTERS.index(letter) + 1 for letter in normalise(heard_words(text))]


def collate(chosen: Sequence[Clip], random: np.random.Generator) -> Batch:
    """Clips as a batch, a little quicker or slower, with some silence around them."""
    varied = [_varied(clip, random) for clip in chosen]
    clips = [pcm for pcm, _ in varied]
    texts = [classes(clip.text) for clip in chosen]
    n_samples = np.array([len(pcm) for pcm in clips], np.int64)
    n_letters = np.array([len(text) for text in texts], np.int64)
    batch = Batch(
        np.zeros((len(clips), n_samples.max()), np.float32),
        n_samples,
        np.zeros((len(clips), n_letters.max()), np.int64),
        n_letters,
        np.full((len(clips), n_samples.max() // STEP_SAMPLES + 1), NO_SOUND),
    )
    for row, ((pcm, sounds), text) in enumerate(zip(varied, texts, strict=True)):
        batch.pcm[row, : len(pcm)] = pcm
        batch.letters[row, : len(text)] = text
        batch.sounds[row, : len(sounds)] = sounds
    return batch


def _varied(clip: Clip, random: np.random.Generator) -> tuple[Pcm, npt.NDArray[np.int64]]:
    """A clip with silence around it, half of the time at another speed, and with it pitch.

    And what is said at each step.
    """
    pcm, speed = clip.pcm, 1.0
    if random.random() < 0.5:
        speed = random.uniform(*SPEEDS)
        places = np.arange(0, len(pcm) - 1, speed)
        pcm = np.interp(places, np.arange(len(pcm)), pcm).astype(np.float32)
    before, after = random.integers(0, round(2 * MARGIN_S * SAMPLE_RATE), 2)
    pcm = np.pad(pcm, (before, after))
    moments = (np.arange(len(pcm) // STEP_SAMPLES + 1) * STEP_SAMPLES - before) / SAMPLE_RATE
    return pcm, sounds_at(clip.phonemes, moments * speed)


def pool(seed: int, number: int, size: int = BATCH) -> list[Batch]:
    """The batches of one draw from the corpus: each of clips about as long, in random order."""
    random = np.random.default_rng((seed, number))
    drawn = islice(clips(int(random.integers(2**31)), "train"), POOL * size)
    by_length = sorted(drawn, key=lambda clip: len(clip.pcm))
    made = [collate(by_length[i : i + size], random) for i in range(0, POOL * size, size)]
    return [made[i] for i in random.permutation(POOL)]


def schedule(step: int, n_workers: int) -> Iterator[tuple[int, int]]:
    """Pool and place in it of the batches of every `n_workers`th step from `step` on."""
    given, home = divmod(step, n_workers)
    for n in count(given):
        yield n // POOL * n_workers + home, n % POOL


@dataclass(frozen=True, slots=True)
class _Share:
    """Makes what each worker gives: the batches of steps `step + worker`, and so on in turn."""

    seed: int
    step: int
    n_workers: int

    def __call__(self, worker: int, n_given: int) -> Iterator[Batch]:
        drawn: list[Batch] = []
        step = self.step + worker + n_given * self.n_workers
        for number, place in schedule(step, self.n_workers):
            if place == 0 or not drawn:
                drawn = pool(self.seed, number)
            yield drawn[place]


def batches(seed: int, n_workers: int, step: int) -> Iterator[Batch]:
    """The endless stream from step `step` on."""
    return background(_Share(seed, step, n_workers), n_workers, 8)


class Training:
    """What the loop needs to know: the loss, and how well held-out clips are heard."""

    extras: Mapping[str, Stateful] = {}

    def __init__(
        self,
        sizes: Sizes,
        device: str,
        held_out: Sequence[Clip],
        alter: Callable[[Tensor], Tensor] = altered,
        begin: Path | None = None,
    ) -> None:
        """`begin`: a file of `export` to begin with. Raises CheckpointError."""
        self._network = Network(sizes) if begin is None else _read(begin)[0]
        self.model: nn.Module = self._network
        self.settings = {"sizes": asdict(sizes)}
        self._mels = Mels().to(device)
        self._device = device
        self._held_out = held_out
        self._alter = alter  # log-mels, while training

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        pcm, n_samples, letters, n_letters, sounds = (
            torch.from_numpy(getattr(batch, each.name)).to(self._device) for each in fields(batch)
        )
        with torch.no_grad():
            mels = levelled(self._alter(self._mels(with_noise(pcm))))
        logits, sound_logits = self._network.letters_and_sounds(mels)
        log_probs = logits.log_softmax(-1).transpose(0, 1)  # (T, B, letters + 1)
        n_steps = n_samples.div(STEP_SAMPLES, rounding_mode="floor") + 1
        spelt = F.ctc_loss(log_probs, letters, n_steps, n_letters, zero_infinity=True)
        heard = sounds_loss(sound_logits, sounds)
        return spelt + SOUNDS_WEIGHT * heard, {"letters": spelt, "sounds": heard}

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        assert isinstance(model, Network)
        recogniser = Recogniser(model, self._device)
        counts = [
            character_errors(normalise(heard_words(clip.text)), recogniser.hear(clip.pcm))
            for clip in self._held_out
        ]
        errors, length = (sum(column) for column in zip(*counts, strict=True))
        return {"character_errors": errors / length}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("csm_chat.training.ears.recogniser", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".train/recogniser"))
    parser.add_argument("--minutes", type=float, default=60.0, help="end after so long (60)")
    parser.add_argument("--steps", type=int, default=12_000, help="the rate is 0 here (12000)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--workers", type=int, default=1, help="processes that speak (1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=Path, metavar="FILE", help="an exported one to begin with")
    parser.add_argument("--export", type=Path, metavar="FILE", help="only write the weights")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        if options.export is not None:
            export(options.out, options.export)
            return 0
        device = pick_device(options.device)
        plan = Plan(
            options.out,
            options.minutes,
            device,
            options.seed,
            learning_rate=1e-3,
            warmup_steps=300,
            total_steps=options.steps,
            ema_decay=0.999,
            bf16=True,
            muon="blocks.",
        )
        held_out = list(islice(clips(VALID_SEED, "voices"), N_VALID))
        run = Run(plan, Training(Sizes(), device, held_out, begin=options.begin))
        step = run.train(lambda step: batches(options.seed, options.workers, step))
    except CsmChatError as error:
        put(*error.lines, file=sys.stderr)
        return error.exit_code
    put(f"{options.out}: {step} of {options.steps} steps done", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
