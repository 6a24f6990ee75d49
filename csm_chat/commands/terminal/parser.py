"""argparse, with what it says about a wrong argument put where all else is put."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import NoReturn

from csm_chat.printing import put


class Parser(ArgumentParser):
    """Its messages quote arguments as they are, and write them as they are."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if message:
            put(message.removesuffix("\n"), file=sys.stderr)
        sys.exit(status)
