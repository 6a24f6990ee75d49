"""Training speech to listen to: a few clips with their texts. Training itself stores none."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from csm_chat.audio.files import write_clip
from csm_chat.training.speech.corpus import Clip, clips
from csm_chat.training.speech.espeak import TRAINING_VOICES, speak
from csm_chat.training.text.sentences import debian_text

_log = logging.getLogger(__name__)

# The voices that the program comes with: file name, voice, words.
SAMPLES = (
    ("reference", "f3-en-us-50", "This is a sample voice, made by a machine. Put your own here."),
    (
        "reference1",
        "diogo-en-us-78",
        "I am a sample, too. Nobody has to be asked to copy my voice.",
    ),
)


def save(clip: Clip, path: Path) -> None:
    """Write a clip, and its text beside it. Raises TakeError; nothing is overwritten."""
    write_clip(path, clip.pcm)
    path.with_suffix(".txt").write_text(f"{clip.text}\n", encoding="utf-8")


def samples() -> dict[str, Clip]:
    """The sample voices of `references/`, by file name."""
    voices = {voice.name: voice for voice in TRAINING_VOICES}
    return {
        file: Clip(text, voice, speak(text, voices[voice]).pcm) for file, voice, text in SAMPLES
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write `--n` clips of a split, named by number and voice, or the sample voices."""
    parser = argparse.ArgumentParser(prog="python -m csm_chat.training data")
    parser.add_argument("--out", type=Path, default=Path(".train/listen"))
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "valid", "test", "voices"), default="train")
    parser.add_argument("--samples", action="store_true", help="the voices of references/ instead")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.samples:
        for name, clip in samples().items():
            save(clip, options.out / f"{name}.wav")
        return 0
    debian_text(notify=_log.info)
    for number, clip in enumerate(islice(clips(options.seed, options.split), options.n), 1):
        path = options.out / f"{number:03d}-{clip.voice}.wav"
        save(clip, path)
        _log.info("%s  %s", path.name, clip.text)
    return 0
