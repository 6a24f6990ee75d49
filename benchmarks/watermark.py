"""What verify finds: `python -m benchmarks.watermark [--clips FOLDER] [--n 200] [--formats ...]`.

Speech is from a folder, at any depth, or said by the built-in voice. Half of the clips are marked.
Printed for each file format: clips found, clips that are taken for marked though they are not,
places found in scenes of marked speech within unmarked speech, and false places in a long file.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.live import LINES
from csm_chat.assemble import load
from csm_chat.audio.clips import clip_blocks, read_clip
from csm_chat.audio.files import write_clip
from csm_chat.audio.watermark.finding import Found
from csm_chat.audio.watermark.marking import Watermark, open_watermark
from csm_chat.bench.machine import GB, peak_bytes
from csm_chat.conversation.session import Session
from csm_chat.types import SAMPLE_RATE, Pcm, Utterance

ENDINGS = (".wav", ".flac", ".mp3", ".ogg")
FORMATS = ("wav", "mp3", "ogg")
SEED = 19
AROUND_S = (2, 6)  # of unmarked speech on each side of a scene
N_IN_SCENE = 3  # clips; their marks meet as those of takes do
CLOSE_S = 0.5
HEADS = (
    *("format", "found", "false", f"places within {CLOSE_S} s"),
    *("median off by, s", "at most", "false places"),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Marked speech within unmarked speech."""

    pcm: Pcm
    start_s: float
    end_s: float


class Searching:
    """Files searched as `csm-chat verify` searches them, and the time it took of a core."""

    def __init__(self, watermark: Watermark, folder: Path) -> None:
        self._watermark = watermark
        self._folder = folder
        self._core_s = self._audio_s = 0.0

    def found(self, pcm: Pcm, ending: str) -> Found:
        path = self._folder / f"clip.{ending}"
        write_clip(path, pcm, replace=True)
        started = time.process_time()
        found = self._watermark.detect(clip_blocks(path))
        self._core_s += time.process_time() - started
        self._audio_s += found.seconds
        return found

    @property
    def times_real_time(self) -> float:
        return self._audio_s / self._core_s


def of_folder(folder: Path, n: int) -> list[Pcm]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if len(paths) < n:
        sys.exit(
            f"{folder}: {len(paths)} clips, {n} are needed; name another or ask for less (--n)"
        )
    return [read_clip(path).pcm for path in random.Random(SEED).sample(paths, n)]


def of_builtin_voice(n: int) -> list[Pcm]:
    session = Session(load("builtin"))
    n_takes = -(-n // len(LINES))
    lines = (Utterance(line, i) for i, line in enumerate(LINES))
    said = (pcm for line in lines for _, pcm in session.takes(line, n_takes))
    return list(islice(said, n))


def scenes(marked: Sequence[Pcm], plain: Sequence[Pcm]) -> list[Scene]:
    rng = random.Random(SEED)
    real = np.concatenate(plain)
    made = []
    for i in range(0, len(marked) - N_IN_SCENE + 1, N_IN_SCENE):
        around = []
        for _ in range(2):
            n = round(rng.uniform(*AROUND_S) * SAMPLE_RATE)
            start = rng.randrange(len(real) - n)
            around.append(real[start : start + n])
        inner = np.concatenate(marked[i : i + N_IN_SCENE])
        start_s = len(around[0]) / SAMPLE_RATE
        pcm = np.concatenate([around[0], inner, around[1]])
        made.append(Scene(pcm, start_s, start_s + len(inner) / SAMPLE_RATE))
    return made


def misses_s(scene: Scene, found: Found) -> float:
    """How far off the worse end is; infinite unless one place is found."""
    if found.mark is None or len(found.mark.places) != 1:
        return float("inf")
    (place,) = found.mark.places
    return max(abs(place.start_s - scene.start_s), abs(place.end_s - scene.end_s))


def measured(
    searching: Searching, marked: Sequence[Pcm], plain: Sequence[Pcm], ending: str
) -> tuple[str, ...]:
    n_found = sum(searching.found(pcm, ending).mark is not None for pcm in marked)
    n_false = sum(searching.found(pcm, ending).mark is not None for pcm in plain)
    made = scenes(marked, plain)
    off = sorted(misses_s(scene, searching.found(scene.pcm, ending)) for scene in made)
    long = searching.found(np.concatenate(plain), ending)
    return (
        ending,
        f"{n_found} of {len(marked)}",
        f"{n_false} of {len(plain)}",
        f"{sum(each <= CLOSE_S for each in off)} of {len(made)}",
        f"{off[len(off) // 2]:.2f}",
        f"{off[-1]:.2f}",
        f"{len(long.mark.places) if long.mark else 0} in {long.seconds / 60:.0f} min",
    )


def show(cells: Iterable[str]) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    n = args.n
    clips = of_folder(args.clips, 2 * n) if args.clips else of_builtin_voice(2 * n)
    watermark = open_watermark("perth", None, {})
    marked, plain = [watermark.mark(pcm) for pcm in clips[:n]], clips[n:]
    show(HEADS)
    show("-" * 3 for _ in HEADS)
    with tempfile.TemporaryDirectory() as folder:
        searching = Searching(watermark, Path(folder))
        for ending in args.formats:
            show(measured(searching, marked, plain, ending))
    sys.stdout.write(
        f"one core searches {searching.times_real_time:.0f} times as fast as real time; "
        f"peak memory {peak_bytes() / GB:.2f} GB, with all clips\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watermark")
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="speech, unmarked")
    parser.add_argument("--n", type=int, default=200, help="marked clips, and as many unmarked")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    main(parser.parse_args())
