"""A scene heard while somebody types: `python -m benchmarks.live [MODEL] [QUANTIZE]`. Linux.

csm-chat on a terminal plays a scene of over a minute onto a file, at the pace of a sound card,
while keys are typed. Printed is what was missing in the sound, and how long each key took to show.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from csm_chat.types import SAMPLE_RATE
from tests.program import CTRL_D, Typist, captured

LINES = (
    "Did you see the weather report this morning?",
    "No, I was late for work again. What did it say?",
    "Rain in the afternoon, and a strong wind from the north.",
    "Then we should leave the garden for another day.",
    "I already bought the flowers, and they will not last until Sunday.",
    "Put them in the kitchen, next to the window, with a little water.",
    "My sister said the same thing about her roses last summer.",
    "And what happened to them?",
    "They were gone after two days, but she still talks about the colour.",
    "Well, then let us go right now, before the rain comes.",
    "Give me ten minutes to find my boots and an old coat.",
    "Take the blue one, it has been hanging behind the door for years.",
    "That was a present from my father, I would never wear it outside.",
    "He would laugh if he heard you say that.",
    "Perhaps he would. Do you remember the trip to the mountains?",
    "Of course I do. We walked for eleven hours and found no hotel.",
    "In the end we slept in the car, and you could not move your neck.",
    "I could not, but the morning was the most beautiful of my life.",
    "The sun came up behind the lake, and everything was quiet.",
    "Come on now, the first drops are already on the street.",
)
KEY_S = 0.1  # between two keys
CLEAR_LINE = "\x15"
TYPED = "the quick brown fox jumps over the lazy dog "


def seconds_to_show(typist: Typist, typed: str) -> float:
    """Type the last character of what is then the line."""
    started = time.perf_counter()
    typist.send(typed[-1])
    tail = typed[-30:].rstrip()
    typist.until(lambda: tail in typist.shown, tail)
    return time.perf_counter() - started


def type_while_heard(typist: Typist) -> list[float]:
    """Type until the scene is over: how long each key took to show, in seconds."""
    times: list[float] = []
    typist.sees("Ctrl-C stops")
    while "Ctrl-C stops" in typist.shown:  # in the toolbar, while something is generated or heard
        typed = ""
        for key in TYPED:
            typed += key
            times.append(seconds_to_show(typist, typed))
            typist.read(KEY_S)
        typist.send(CLEAR_LINE)
        typist.read(KEY_S)
    return times


def heard(folder: Path) -> tuple[float, int]:
    """Seconds of the scene, and how many of its samples were not heard in one piece."""
    said = np.fromfile(next(folder.glob("takes/*/*scene.wav")), np.int16, offset=44)
    played = captured(folder)
    begin = int(np.flatnonzero(played)[0]) - int(np.flatnonzero(said)[0])
    piece = played[max(0, begin) :][: len(said)]
    return len(said) / SAMPLE_RATE, len(said) - int(np.count_nonzero(piece == said[: len(piece)]))


def main(model: str = "builtin", quantize: str = "int4") -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = ["--model", model, "--quantize", quantize, "--set", "watermark.method=off"]
        typist = Typist.start(*flags, folder=folder, sound="alsa-file.conf")
        typist.sees("real time")
        started = time.perf_counter()
        typist.enter("||".join(f"{line}{i % 2}" for i, line in enumerate(LINES)))
        times = type_while_heard(typist)
        elapsed_s = time.perf_counter() - started
        typist.send(CTRL_D)
        typist.leaves()
        takes = next(folder.glob("takes/*/takes.jsonl")).read_text("utf-8").splitlines()
        scene_s, n_missing = heard(folder)
    rtf = statistics.median(json.loads(take)["timings"]["rtf"] for take in takes)
    sys.stdout.write(
        f"{model}, {quantize}: RTF {rtf:.2f}; a scene of {scene_s:.1f} s was over after "
        f"{elapsed_s:.1f} s; {n_missing} samples were not heard as they were said\n"
        f"{len(times)} keys: shown after {statistics.median(times) * 1e3:.0f} ms, "
        f"95 % within {np.quantile(times, 0.95) * 1e3:.0f}, the slowest {max(times) * 1e3:.0f}\n"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # the tests' program takes one
    main(*sys.argv[1:])
