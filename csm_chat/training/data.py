"""Training speech to listen to: a few clips with their texts. Training itself stores none."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from csm_chat.audio.files import write_clip
from csm_chat.training.corpus import Clip, clips
from csm_chat.training.sentences import debian_text

_log = logging.getLogger(__name__)


def save(clip: Clip, path: Path) -> None:
    """Write a clip, and its text beside it. Raises TakeError; nothing is overwritten."""
    write_clip(path, clip.pcm)
    path.with_suffix(".txt").write_text(f"{clip.text}\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write `--n` clips of a split, named by number and voice."""
    parser = argparse.ArgumentParser(prog="python -m csm_chat.training data")
    parser.add_argument("--out", type=Path, default=Path(".train/listen"))
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "valid", "test", "voices"), default="train")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    debian_text(notify=_log.info)
    options.out.mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(islice(clips(options.seed, options.split), options.n), 1):
        path = options.out / f"{number:03d}-{clip.voice}.wav"
        save(clip, path)
        _log.info("%s  %s", path.name, clip.text)
    return 0
