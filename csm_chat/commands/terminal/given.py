"""Text that stands on the command line, judged as that of a file. Knows no command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from csm_chat.notices import TextRemark
from csm_chat.plain_files import decode

if TYPE_CHECKING:
    from csm_chat.notices import Listener


def given_text(argument: str, name: str, tell: Listener) -> str:
    """The text of an argument, whatever its bytes are; `name` is what the usage calls it."""
    decoded = decode(os.fsencode(argument))
    if decoded.remark:
        tell(TextRemark(name, decoded.remark))
    return decoded.text
