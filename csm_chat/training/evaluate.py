"""How well a model speaks, in numbers: words, endings, voices, speed. Trains nothing.

`python -m csm_chat.training.evaluate FOLDER --recogniser PATH` prints the table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

import csm_chat
from csm_chat.codec.load import load_codec
from csm_chat.config.settings import SamplingConfig
from csm_chat.conversation.session import Session
from csm_chat.conversation.take import whole
from csm_chat.engine.choice import choose_device
from csm_chat.errors import CsmChatError, UsageError
from csm_chat.printing import put
from csm_chat.training.ears.measures import (
    Floats,
    Lineup,
    VoiceSpace,
    character_errors,
    fit_voice_space,
    median_f0,
    normalise,
    voice_embedding,
)
from csm_chat.training.ears.recogniser import Recogniser
from csm_chat.training.figures import Figure, table, write_figures
from csm_chat.training.speech.corpus import Clip, clips
from csm_chat.training.text.spoken import heard_words
from csm_chat.types import SAMPLE_RATE, Backend, Codec, Pcm, Segment, Turn, Utterance, Voice

SEED = 20_000  # of all that is drawn here
REFERENCE_S = 3.0
N_ENROLLED = 3  # clips that a voice is known by; the model hears the first
N_CANDIDATES = 10
N_OTHERS = 5000  # clips among which references are looked for
N_SPACE_CLIPS = 800
SHORTEST, LONGEST = 0.6, 1.6  # of espeak's length
F0_WITHIN = 0.12
N_SCENES, N_SCENE_LINES = 10, 6  # in two voices, which take turns
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


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """Held-out sentences, and clips by which their held-out voices are known."""

    lines: tuple[Clip, ...]
    references: Mapping[str, tuple[Clip, ...]]


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


def draw_script(n_lines: int, drawn: Iterator[Clip], others: Iterable[Clip]) -> Script:
    """Lines from one stream of clips; from another, clips of their voices and of enough strangers.

    Raises UsageError when `others` ends too early.
    """
    lines = tuple(islice(drawn, n_lines))
    wanted = {line.voice for line in lines}
    references: dict[str, tuple[Clip, ...]] = {}
    known: set[str] = set()
    for clip in others:
        if wanted <= known and len(known) >= N_CANDIDATES:
            return Script(lines, {name: references[name] for name in sorted(known)})
        if len(clip.pcm) >= REFERENCE_S * SAMPLE_RATE and clip.voice not in known:
            references[clip.voice] = (*references.get(clip.voice, ()), clip)
            if len(references[clip.voice]) == N_ENROLLED:
                known.add(clip.voice)
    raise UsageError(
        f"{len(known)} voices with {N_ENROLLED} clips of {REFERENCE_S:g} s; "
        f"{max(len(wanted), N_CANDIDATES)} are needed: add voices to the corpus"
    )


def error_rate(hear: Callable[[Pcm], str], said: Iterable[tuple[str, Pcm]]) -> float:
    """Character errors in per cent of all characters said."""
    counts = [character_errors(normalise(heard_words(text)), hear(pcm)) for text, pcm in said]
    return 100 * sum(errors for errors, _ in counts) / max(1, sum(length for _, length in counts))


def round_trip(codec: Codec, pcm: Pcm) -> Pcm:
    """Through codes and back, as long as it was."""
    codes = codec.encode(pcm)
    with codec.decoding() as decode:
        return decode(codes)[: len(pcm)]


def speak(backend: Backend, line: Clip, reference: Clip, seed: int) -> Spoken:
    """The line, after a reference of its voice, as a session says it."""
    pcm, turn = collect(session_of(backend, (reference,), seed), line.text)
    return Spoken(line, pcm, turn)


def session_of(backend: Backend, references: Iterable[Clip], seed: int) -> Session:
    """One whose speakers 0 and up have the references' voices."""
    voices = []
    for speaker, clip in enumerate(references):
        segment = Segment(speaker, clip.text, backend.codec.encode(clip.pcm))
        voices.append(Voice(speaker, clip.voice, (segment,)))
    return Session(backend, tuple(voices), sampling=SamplingConfig(seed=seed))


def right_voice_in_scenes(lineup: Lineup, backend: Backend, script: Script, n_scenes: int) -> float:
    """Per cent of the lines of scenes that sound more like their own voice than the other one."""
    random = np.random.default_rng(SEED)
    texts = (line.text for line in cycle(script.lines))
    good = []
    for seed in range(n_scenes):
        names = [str(each) for each in random.choice(sorted(script.references), 2, replace=False)]
        session = session_of(backend, (script.references[name][0] for name in names), seed)
        known = [lineup.known[name] for name in names]
        for number, text in enumerate(islice(texts, N_SCENE_LINES)):
            pcm, _ = collect(session, text, number % 2)
            heard = len(pcm) and lineup.space.nearest(voice_embedding(pcm), known) == number % 2
            good.append(bool(heard))
    return 100 * sum(good) / max(1, len(good))


def collect(session: Session, text: str, speaker: int = 0) -> tuple[Pcm, Turn]:
    """A whole take."""
    return whole(session.take(Utterance(text, speaker)))


def f0_share(spoken: Sequence[tuple[Clip, Pcm]]) -> float:
    """Per cent whose median pitch is near that of the same line in the original voice."""
    good = 0
    for line, pcm in spoken:
        wanted, got = median_f0(line.pcm), median_f0(pcm)
        good += wanted is not None and got is not None and abs(got / wanted - 1) <= F0_WITHIN
    return 100 * good / max(1, len(spoken))


def learn_lineup(drawn: Iterable[Clip], references: Mapping[str, Sequence[Clip]]) -> Lineup:
    """What tells voices apart from clips of training voices; whom to tell apart from references."""
    space = learn_voice_space(drawn)
    known = {
        name: np.mean([voice_embedding(clip.pcm) for clip in clips], axis=0)
        for name, clips in references.items()
    }
    return Lineup(space, known, N_CANDIDATES)


def right_voice_share(lineup: Lineup, said: Sequence[tuple[Clip, Pcm]]) -> float:
    """Per cent of clips that sound more like their own voice than like nine others."""
    random = np.random.default_rng(SEED)
    good = [lineup.knows(line.voice, pcm, random) for line, pcm in said]
    return 100 * sum(good) / max(1, len(good))


def learn_voice_space(drawn: Iterable[Clip]) -> VoiceSpace:
    """From clips of training voices, those with two clips or more."""
    embeddings: dict[str, list[Floats]] = {}
    for clip in drawn:
        embeddings.setdefault(clip.voice, []).append(voice_embedding(clip.pcm))
    return fit_voice_space([each for each in embeddings.values() if len(each) > 1])


def speed_figures(backend: Backend, script: Script, n_starts: int = 3) -> list[Figure]:
    """RTF and first sound of short lines in a warm session of two voices; time to get ready."""
    firsts = (reference for reference, *_ in islice(script.references.values(), 2))
    session = session_of(backend, firsts, SEED)
    session.warm_up(WARM_UP_FRAMES)
    timings = [collect(session, line.text)[1].timings for line in script.lines[:N_TIMED]]
    rtf = sum(t.compute_s for t in timings) / max(1e-9, sum(t.audio_s for t in timings))
    first_ms = 1000 * float(np.median([t.first_audio_s for t in timings]))
    return [
        Figure(f"RTF, {torch.get_num_threads()} threads", rtf, 0.35, ""),
        Figure("Enter to first sample", first_ms, 200, "ms"),
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
    recogniser: Recogniser
    lineup: Lineup
    tell: Tell

    def hear(self, name: str, said: Sequence[tuple[Clip, Pcm]], asked: float) -> Figure:
        rate = error_rate(self.recogniser.hear, [(line.text, pcm) for line, pcm in said])
        return self._told(Figure(f"character errors, {name}", rate, asked, "%"))

    def compare(self, name: str, said: Sequence[tuple[Clip, Pcm]]) -> list[Figure]:
        """Voices against the originals'."""
        f0, voice = f0_share(said), right_voice_share(self.lineup, said)
        return [
            self._told(Figure(f"median F0 within 12 %, {name}", f0, 80, "%", at_most=False)),
            self._told(Figure(f"right voice of ten, {name}", voice, 60, "%", at_most=False)),
        ]

    def _told(self, figure: Figure) -> Figure:
        self.tell(str(figure))
        return figure

    def originals(self) -> list[Figure]:
        said = [(line, line.pcm) for line in self.script.lines]
        return [self.hear("originals", said, 3), *self.compare("originals", said)]

    def codec(self, codec: Codec) -> list[Figure]:
        said = [(line, round_trip(codec, line.pcm)) for line in self.script.lines]
        return [self.hear("codec round trips", said, 5), *self.compare("codec round trips", said)]

    def generated(self, backend: Backend) -> list[Figure]:
        spoken = []
        for seed, line in enumerate(self.script.lines):
            reference = self.script.references[line.voice][0]
            spoken.append(speak(backend, line, reference, seed))
            if (seed + 1) % 20 == 0:
                self.tell(f"{seed + 1} of {len(self.script.lines)} lines spoken")
        said = [(each.line, each.pcm) for each in spoken]
        well = 100 * sum(each.ended_well for each in spoken) / max(1, len(spoken))
        ended = Figure("ends by itself, 0.6 to 1.6 x as long", well, 97, "%", at_most=False)
        share = right_voice_in_scenes(self.lineup, backend, self.script, N_SCENES)
        right = Figure("right one of two voices that take turns", share, 90, "%", at_most=False)
        heard = self.hear("generated", said, 12)
        return [heard, ended, *self.compare("generated", said), self._told(right)]


def evaluate(options: argparse.Namespace, tell: Tell) -> list[Figure]:
    """All figures that the options ask for. Raises CsmChatError."""
    recogniser = Recogniser.load(options.recogniser, choose_device(options.device))
    tell(f"drawing {options.n} lines")
    others = islice(clips(SEED + 1, "voices"), N_OTHERS)
    script = draw_script(options.n, clips(SEED, "voices"), others)
    lineup = learn_lineup(islice(clips(SEED + 2, "valid"), N_SPACE_CLIPS), script.references)
    judges = Judges(script, recogniser, lineup, tell)
    figures = judges.originals()
    device = choose_device(options.device)
    if options.codec_only:
        return figures + judges.codec(load_codec(options.folder, options.codebooks, device))
    how = {"device": device, "dtype": options.dtype, "quantize": options.quantize}
    backend = csm_chat.load(options.folder, **how)
    figures += judges.codec(backend.codec) + judges.generated(backend)
    return figures + speed_figures(backend, script)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("csm_chat.training.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path, help="checkpoint folder")
    parser.add_argument("--recogniser", type=Path, required=True, help="folder it was trained in")
    parser.add_argument("--n", type=_positive, default=300, help="held-out sentences (300)")
    parser.add_argument("--json", type=Path, help="file to write the figures to, too")
    parser.add_argument("--codec-only", action="store_true", help="the folder holds a codec only")
    parser.add_argument("--codebooks", type=int, default=8, help="with --codec-only (8)")
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
