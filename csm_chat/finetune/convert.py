"""From folders of clips to an SFT file: a folder a conversation, `speaker<n>` in each file's name.

As csm-mlx reads them: lines in natural order (2 before 10), words in a .txt beside each clip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from csm_chat.errors import UsageError
from csm_chat.plain_files import decode, read_bytes
from csm_chat.voices.file_names import CLIP_ENDINGS, FOREIGN_ENDINGS

_SPEAKER = re.compile(r"speaker[ _-]?(\d+)", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)")
MOST_TOLD = 20


def conversations_of(folder: Path) -> list[list[dict[str, object]]]:
    """The conversations in a folder's folders, or in the folder itself if it has clips.

    Paths are relative to the folder where they can be. Raises UsageError, which names every clip
    without words or speaker, and where there is none.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    faults: list[str] = []
    folders = [folder, *_in_order(path for path in folder.iterdir() if path.is_dir())]
    found = [list(_lines(each, faults)) for each in folders]
    if faults:
        more = len(faults) - MOST_TOLD
        raise UsageError(*faults[:MOST_TOLD], *([f"and {more} more"] if more > 0 else []))
    conversations = [lines for lines in found if lines]
    if not conversations:
        raise UsageError(f"{folder}: no clips in it or its folders ({', '.join(CLIP_ENDINGS)})")
    return conversations


def write_conversations(conversations: list[list[dict[str, object]]], path: Path) -> None:
    """Write the SFT file, whole or not at all; a clip's path is absolute. Raises OSError."""
    part = path.with_name(path.name + ".part")
    content = json.dumps(conversations, indent=2, ensure_ascii=False)
    part.write_text(content + "\n", encoding="utf-8")
    part.replace(path)


def _lines(folder: Path, faults: list[str]) -> Iterator[dict[str, object]]:
    for clip in _in_order(folder.iterdir()):
        ending = clip.suffix.lower()
        if ending in FOREIGN_ENDINGS:
            faults.append(f"{clip}: convert it to wav, flac, mp3 or ogg")
        if ending not in CLIP_ENDINGS or not clip.is_file():
            continue
        speaker, words = _SPEAKER.search(clip.stem), clip.with_suffix(".txt")
        if speaker is None:
            faults.append(f"{clip}: whose voice? write it as {clip.stem}-speaker0{clip.suffix}")
            continue
        try:
            text = decode(read_bytes(words)).text.strip()
        except OSError:
            text = ""
        if not text:
            faults.append(f"{words}: no words there; csm-chat transcribe {clip} writes them")
            continue
        yield {"text": text, "audio_path": str(clip.resolve()), "speaker": int(speaker[1])}


def _in_order(paths: Iterator[Path]) -> list[Path]:
    """By name, numbers in it as numbers."""
    return sorted(
        paths,
        key=lambda path: [
            (int(piece), "") if piece.isdecimal() else (-1, piece.lower())
            for piece in _DIGITS.split(path.name)
        ],
    )
