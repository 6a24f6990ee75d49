"""Which file is a script, and of what kind. Knows formats by name, and reads but text.

What a word processor or another program keeps is refused with what to do: read as a script, its
mark-up would be spoken for hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from csm_chat.casting.moods import Moods
from csm_chat.conversation.grammar import NO_MOODS
from csm_chat.errors import EntryError, UsageError
from csm_chat.plain_files import Decoded, decode, read_bytes
from csm_chat.scene.cues import are_cues, cue_script
from csm_chat.scene.script import Script, parse_script

_AS_TEXT = "save it as plain text (.txt), an entry a line"
_AS_SRT = "convert it to SubRip first, as `ffmpeg -i {0} {1}.srt` does"
_AS_LINES = "write each line as `Ana: what she says`, in a text file"
# what it is, and what to do; {0} is its name and {1} its name without the ending
_KINDS = {
    "a Word document": ((".doc", ".docx"), _AS_TEXT),
    "an OpenDocument text": ((".odt",), _AS_TEXT),
    "a Pages document": ((".pages",), _AS_TEXT),
    "a rich text document": ((".rtf",), _AS_TEXT),
    "an e-book": ((".epub", ".mobi"), _AS_TEXT),
    "a PDF": ((".pdf",), "take its text out first, as `pdftotext {0} {1}.txt` does"),
    "a web page": ((".html", ".htm", ".xhtml"), "save it from the browser as text (.txt)"),
    "a screenplay": ((".fountain", ".fdx"), _AS_LINES),
    "data": ((".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml"), _AS_LINES),
    "Advanced SubStation subtitles": ((".ass", ".ssa"), _AS_SRT),
    "TTML subtitles": ((".ttml", ".dfxp"), _AS_SRT),
    "SAMI subtitles": ((".smi", ".sami"), _AS_SRT),
    "subtitles of another kind": ((".sub", ".sbv", ".stl", ".scc", ".lrc"), _AS_SRT),
    "sound": (
        (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a"),
        "csm-chat transcribe writes down what is said in it",
    ),
}
# by how it begins, whatever it is called
_BEGINNINGS = {
    b"%PDF-": ".pdf",
    b"{\\rtf": ".rtf",
    b"PK\x03\x04": ".docx",
    b"<!doctype html": ".html",
    b"<html": ".html",
    b"[script info]": ".ass",
}


def read_script(
    path: Path,
    speaker: int,
    names: Mapping[int, str],
    offsets: str,
    moods: Moods = NO_MOODS,
) -> Script:
    """Read a file: subtitles as cues, else an entry a line, which begins with `speaker`.

    What is no UTF-8 is Windows-1252, which is among its notes. Raises UsageError for what is no
    script, EntryError with a line for each thing that has no reading.
    """
    decoded = _text(path)
    if are_cues(path, decoded.text):
        script = cue_script(decoded.text, path, speaker, names, moods)
    else:
        script = parse_script(decoded.text, path, speaker, names, offsets, moods)
    remarks = (f"{path}: {decoded.remark}",) if decoded.remark else ()
    return replace(script, notes=(*remarks, *script.notes))


def _text(path: Path) -> Decoded:
    try:
        data = read_bytes(path)
    except IsADirectoryError as error:
        raise UsageError(f"{path}: is a folder; name the script files in it") from error
    except OSError as error:
        _refuse(path, path.suffix.lower())
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    _refuse(path, path.suffix.lower())
    head = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
    for beginning, ending in _BEGINNINGS.items():
        if head.startswith(beginning.lower()):
            _refuse(path, ending)
    decoded = decode(data)
    if "\0" in decoded.text:
        raise EntryError(f"{path}: is not a text file")
    return decoded


def _refuse(path: Path, ending: str) -> None:
    """Raise UsageError if files of that ending are known, and no scripts."""
    for what, (endings, remedy) in _KINDS.items():
        if ending in endings:
            todo = remedy.format(path, path.with_suffix(""))
            raise UsageError(f"{path}: is {what}, and no script: {todo}")
