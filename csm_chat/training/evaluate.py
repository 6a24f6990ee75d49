"""How well a model speaks, in numbers: words, naturalness, voices, endings, speed. Trains nothing.

What judges are ears that are nobody's here: Whisper base, DistillMOS and Resemblyzer. Sentences,
and clips of voices that were never trained on, are recordings of the teacher.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

import csm_chat
from csm_chat.checking.likeness import Vector
from csm_chat.codec.load import load_codec
from csm_chat.config.settings import SamplingConfig
from csm_chat.conversation.session import Session
from csm_chat.conversation.take import whole
from csm_chat.engine.choice import choose_device
from csm_chat.errors import CsmChatError
from csm_chat.printing import put
from csm_chat.training.ears import whisper
from csm_chat.training.ears.hear import Group, Heard, heard, summed_up
from csm_chat.training.figures import Figure, table, write_figures
from csm_chat.training.kit import KIT
from csm_chat.training.script import SEED, Script, all_of, draw_script, voice_of
from csm_chat.training.speech.corpus import Clip
from csm_chat.types import Backend, Codec, Pcm, Segment, Turn, Utterance, Voice

SHORTEST, LONGEST = 0.6, 1.6  # of the teacher's length
N_SCENE_LINES = 40  # in two voices, which take turns
N_TIMED = 7
WARM_UP_FRAMES = 3
READY = """
import sys, csm_chat
folder, device, dtype, quantize = sys.argv[1:]
backend = csm_chat.load(folder, device=device, dtype=dtype, quantize=quantize)
csm_chat.Session(backend).warm_up(3)
print("ready", flush=True)
"""

Tell = Callable[[str], object]
Ear = Callable[[str, Pcm], Heard]  # what was said, and its sound


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    line: Clip
    pcm: Pcm
    turn: Turn

    @property
    def ended_well(self) -> bool:
        """By itself, and about as long as the original."""
        ratio = len(self.pcm) / len(self.line.pcm)
        return self.turn.ended == "eos" and SHORTEST <= ratio <= LONGEST


class Lineup:
    """Voices by their vectors."""

    def __init__(self, references: Mapping[str, Sequence[Clip]], hear: Ear) -> None:
        self._names = [*references]
        means = [
            np.mean([hear(clip.text, clip.pcm).print for clip in clips], axis=0)
            for clips in references.values()
        ]
        self._vectors = np.stack(means)

    def nearest(self, vector: Vector) -> str:
        return self._names[int((self._vectors @ vector).argmax())]

    def share(self, said: Sequence[tuple[Clip, Heard]]) -> float:
        """Per cent of clips that are nearest to their own voice."""
        good = [self.nearest(each.print) == voice_of(line) for line, each in said]
        return 100 * sum(good) / max(1, len(good))


def round_trip(codec: Codec, pcm: Pcm) -> Pcm:
    """Through codes and back, as long as it was."""
    codes = codec.encode(pcm)
    with codec.decoding() as decode:
        return decode(codes)[: len(pcm)]


def speak(backend: Backend, line: Clip, references: Sequence[Clip], seed: int) -> Spoken:
    """The line, after a reference of its voice or without, as a session says it."""
    pcm, turn = collect(session_of(backend, references, seed), line.text)
    return Spoken(line, pcm, turn)


def session_of(backend: Backend, references: Iterable[Clip], seed: int) -> Session:
    """One whose speakers 0 and up have the references' voices."""
    voices = []
    for speaker, clip in enumerate(references):
        segment = Segment(speaker, clip.text, backend.codec.encode(clip.pcm))
        voices.append(Voice(speaker, clip.voice, (segment,)))
    return Session(backend, tuple(voices), sampling=SamplingConfig(seed=seed))


def collect(session: Session, text: str, speaker: int = 0) -> tuple[Pcm, Turn]:
    """A whole take."""
    return whole(session.take(Utterance(text, speaker)))


def speed_figures(backend: Backend, script: Script, n_starts: int = 3) -> list[Figure]:
    """RTF and first sound of short lines in a warm session of two voices; time to get ready."""
    firsts = (reference for reference, *_ in islice(script.references.values(), 2))
    session = session_of(backend, firsts, SEED)
    session.warm_up(WARM_UP_FRAMES)
    timings = [collect(session, line.text)[1].timings for line in script.lines[:N_TIMED]]
    rtf = sum(t.compute_s for t in timings) / max(1e-9, sum(t.audio_s for t in timings))
    first_ms = 1000 * float(np.median([t.first_audio_s for t in timings]))
    return [
        Figure(f"RTF, {torch.get_num_threads()} threads", rtf, 0.45, ""),
        Figure("Enter to first sample", first_ms, 150, "ms"),
        Figure("start to ready", seconds_to_ready(backend, n_starts), 3, "s"),
    ]


def seconds_to_ready(backend: Backend, n_starts: int) -> float:
    """The best of some fresh processes that load the model and warm it up."""
    seconds = []
    how = (str(backend.path), backend.device, backend.dtype, backend.quantize)
    command = [sys.executable, "-c", READY, *how]
    for _ in range(n_starts):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            seconds.append(time.perf_counter() - start)
        if said != "ready\n":
            raise CsmChatError(f"{backend.path}: does not load in a process of its own")
    return min(seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Judges:
    script: Script
    hear: Ear
    lineup: Lineup
    tell: Tell

    def heard(self, name: str, said: Iterable[tuple[Clip, Pcm]]) -> list[tuple[Clip, Heard]]:
        found = []
        for line, pcm in said:
            found.append((line, self.hear(line.text, pcm)))
            if len(found) % 20 == 0:
                self.tell(f"{name}: {len(found)} of {len(self.script.lines)}")
        return found

    def quality(
        self, name: str, said: Sequence[tuple[Clip, Heard]], words: float, natural: float
    ) -> list[Figure]:
        """Words wrong and naturalness, with what is asked of them."""
        group: Group = summed_up([each for _, each in said], {})
        return self._told(
            Figure(f"words wrong, {name}", 100 * group.words_wrong, words, "%"),
            Figure(f"naturalness, {name}", group.naturalness, natural, "", at_most=False),
        )

    def _told(self, *figures: Figure) -> list[Figure]:
        for figure in figures:
            self.tell(str(figure))
        return [*figures]

    def right(self, name: str, said: Sequence[tuple[Clip, Heard]], asked: float) -> list[Figure]:
        share = self.lineup.share(said)
        return self._told(Figure(f"right voice of ten, {name}", share, asked, "%", at_most=False))

    def originals(self) -> list[Figure]:
        said = self.heard("originals", ((line, line.pcm) for line in self.script.lines))
        return [*self.quality("originals", said, 4, 4.1), *self.right("originals", said, 95)]

    def codec(self, codec: Codec) -> list[Figure]:
        name = "codec round trips"
        trips = ((line, round_trip(codec, line.pcm)) for line in self.script.lines)
        said = self.heard(name, trips)
        return [*self.quality(name, said, 3, 3.4), *self.right(name, said, 85)]

    def generated(self, backend: Backend) -> list[Figure]:
        """Every other line without a reference."""
        spoken = []
        for seed, line in enumerate(self.script.lines):
            references = self.script.references[voice_of(line)][: (seed + 1) % 2]
            spoken.append(speak(backend, line, references, seed))
        said = self.heard("generated", ((each.line, each.pcm) for each in spoken))
        well = 100 * sum(each.ended_well for each in spoken) / max(1, len(spoken))
        ended = Figure("ends by itself, 0.6 to 1.6 x as long", well, 99, "%", at_most=False)
        return [
            *self.quality("generated", said, 5, 3.3),
            *self.quality("generated, with a reference", said[::2], 5, 3.3),
            *self.quality("generated, without", said[1::2], 5, 3.3),
            *self.right("generated", said[::2], 85),
            *self._told(ended),
        ]

    def scene(self, backend: Backend) -> list[Figure]:
        """How many more words are wrong in the second half of a long scene."""
        names = islice(self.script.references, 2)
        session = session_of(backend, [self.script.references[name][0] for name in names], SEED)
        lines = islice(cycle(self.script.lines), N_SCENE_LINES)
        said = self.heard(
            "scene", ((line, collect(session, line.text, i % 2)[0]) for i, line in enumerate(lines))
        )
        half = len(said) // 2
        first, second = (
            100 * summed_up([each for _, each in part], {}).words_wrong
            for part in (said[:half], said[half:])
        )
        name = f"a scene of {N_SCENE_LINES} turns: words wrong, second half less first"
        return self._told(Figure(name, second - first, 2, "points"))


def evaluate(options: argparse.Namespace, tell: Tell) -> list[Figure]:
    """All figures that the options ask for. Raises CsmChatError."""
    ear = whisper.base(options.kit)

    def hear(said: str, pcm: Pcm) -> Heard:
        return heard(said, whisper.at_ear_rate(pcm), ear.hear)

    script = draw_script(options.n, all_of(options.held_out), all_of(options.known))
    judges = Judges(script, hear, Lineup(script.references, hear), tell)
    figures = judges.originals()
    device = choose_device(options.device)
    if options.codec_only:
        return figures + judges.codec(load_codec(options.folder, options.codebooks, device))
    how = {"device": device, "dtype": options.dtype, "quantize": options.quantize}
    backend = csm_chat.load(options.folder, **how)
    figures += judges.codec(backend.codec) + judges.generated(backend) + judges.scene(backend)
    return figures + speed_figures(backend, script)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("csm_chat.training.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path, help="checkpoint folder")
    for name, whose in (("--held-out", "held-out voices"), ("--known", "six other voices")):
        parser.add_argument(
            name, type=Path, required=True, metavar="DIR", help=f"recordings of {whose}"
        )
    parser.add_argument("--kit", type=Path, default=KIT, metavar="DIR", help=f"({KIT})")
    parser.add_argument("--n", type=_positive, default=300, help="held-out sentences (300)")
    parser.add_argument("--json", type=Path, help="file to write the figures to, too")
    parser.add_argument("--codec-only", action="store_true", help="the folder holds a codec only")
    parser.add_argument("--codebooks", type=int, default=24, help="with --codec-only (24)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    parser.add_argument("--quantize", default="none", help="none, int8 or int4 (none)")
    parser.add_argument("--threads", type=_positive, help="of torch; default: its own choice")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        figures = evaluate(options, lambda line: put(line, file=sys.stderr))
        put(*table(figures).split("\n"))
        if options.json:
            write_figures(figures, options.json)
    except CsmChatError as error:
        put(*error.lines, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
