"""Hours of speech by the teacher, as conversations on disk; goes on where it was stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from csm_chat.printing import put
from csm_chat.training.kit import KIT
from csm_chat.training.speech.recordings import (
    Recording,
    conversation_path,
    conversations,
    read_conversation,
    write,
)
from csm_chat.training.speech.teacher.kokoro import Said, Teacher
from csm_chat.training.speech.teacher.scripts import Cast, Cue, script
from csm_chat.types import Pcm

SILENCE = 0.02  # a clip that is never louder failed
Say = Callable[[str, str, float], Said]


def spoken(number: int, cues: Sequence[Cue], say: Say) -> list[tuple[Recording, Pcm]]:
    """A conversation's turns, without those that failed."""
    turns = []
    for turn, cue in enumerate(cues):
        said = say(cue.text, cue.voice, cue.speed)
        peak = float(np.abs(said.pcm).max())
        if not SILENCE < peak <= 1:  # NaN neither
            continue
        recording = Recording(
            number,
            turn,
            cue.speaker,
            cue.voice,
            cue.speed,
            cue.text,
            said.symbols,
            said.lengths,
            len(said.pcm),
            round(peak, 3),
            f"{number:06d}-{turn}.flac",
        )
        turns.append((recording, said.pcm))
    return turns


def teach(folder: Path, cast: Cast, hours: float, share: tuple[int, int], say: Say) -> float:
    """Write conversations until `folder` holds `hours`; returns how many it holds.

    `share`: this process's place and how many there are, each of which makes every so manieth.
    """
    held_s = sum(turn.seconds for turns in conversations(folder) for turn in turns)
    place, n_processes = share
    for number in count(place, n_processes):
        if held_s >= hours * 3600:
            break
        if conversation_path(folder, number).exists():
            continue
        turns = spoken(number, script(number, cast), say)
        write(folder, number, turns)
        held_s += sum(turn.seconds for turn in read_conversation(conversation_path(folder, number)))
    return held_s / 3600


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("csm_chat.training teach", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--hours", type=float, default=30.0, help="until DIR holds so many (30)")
    parser.add_argument("--cast", choices=("train", "heldout", "known"), default="train")
    parser.add_argument("--kit", type=Path, default=KIT, metavar="DIR", help=f"({KIT})")
    parser.add_argument("--share", default="0/1", metavar="I/N", help="the Ith of N processes")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    import torch

    options = parse(arguments)
    torch.set_num_threads(1)
    place, _, n_processes = options.share.partition("/")
    share = int(place), int(n_processes)
    say = Teacher(options.kit).say
    hours = teach(options.out, options.cast, options.hours, share, say)
    put(f"{options.out}: {hours:.2f} h", file=sys.stderr)
    return 0
