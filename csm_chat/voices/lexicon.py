"""The file of words that are said in another way, which lies beside the references folder."""

from __future__ import annotations

import re
from pathlib import Path

from csm_chat.normalise.lexicon import EMPTY, Lexicon, parse_lexicon
from csm_chat.notices import (
    LexiconProblem,
    LexiconUnread,
    Listener,
    MoreLexiconProblems,
    TextRemark,
)
from csm_chat.plain_files import decode, read_bytes

MOST_BYTES = 200_000  # some ten thousand entries, which take a second to compile
MOST_TOLD = 3  # lines that are no entries, each by itself


def read_lexicon(path: Path, tell: Listener, *, is_asked_for: bool) -> Lexicon:
    """The entries of a file; what cannot be read is told, and the rest holds.

    That there is no file is told only if somebody asked for it.
    """
    try:
        data = read_bytes(path, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if is_asked_for:
            tell(LexiconUnread(path, "there is no such file"))
        return EMPTY
    except OSError as error:
        tell(LexiconUnread(path, str(error.strerror)))
        return EMPTY
    decoded = decode(data)
    if decoded.remark:
        tell(TextRemark(str(path), decoded.remark))
    lexicon, problems = parse_lexicon(re.split("\r\n|\r|\n", decoded.text))
    for problem in problems[:MOST_TOLD]:
        tell(LexiconProblem(path, problem))
    if len(problems) > MOST_TOLD:
        tell(MoreLexiconProblems(path, len(problems) - MOST_TOLD))
    return lexicon
