"""`csm-chat bench`: how fast a model is here, where the time goes, how near the limit that is."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.errors import CsmChatError, UsageError
from csm_chat.places import expanded
from csm_chat.printing import put, put_json

if TYPE_CHECKING:
    from csm_chat.bench.answers import Wanted
    from csm_chat.bench.run import Plan
    from csm_chat.config.settings import Config

PEERS = ("transformers",)
TEMPORARY = ""  # --random without a folder
MAX_FRAMES = 1000
MAX_TAKES = 64
EPILOG = """\
Figures are medians, on whatever else the machine does; with --vs both are timed in turns, each in a
process of its own. Speed does not depend on what the weights are, so --random measures CSM-1B
without having it: 3.5 GB are written to a temporary folder, or once to DIR.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EPILOG
    flags.add_settings(parser, *flags.COMPUTE)
    add = parser.add_argument
    add("--random", nargs="?", const=TEMPORARY, metavar="DIR", help="a CSM-1B of random weights")
    add("--vs", choices=PEERS, help="measure it beside")
    add("--rows", metavar="N", help="of context, for the figures of a frame (300)")
    add("--frames", metavar="N", help="that are timed there (24)")
    add("--said", metavar="N", help="rows of the conversation before the tenth turn (1000)")
    add("--takes", metavar="N", help="time so many takes of one prompt side by side, too")
    add("--plot", type=Path, metavar="FILE", help="cost against context length: .png or .svg")
    add("--json", action="store_true", help="all numbers, for programs")
    add("--quiet", action="store_true", help="errors only")


def run(args: Namespace, config: Config) -> int:
    from csm_chat.bench import plot
    from csm_chat.bench.run import measure
    from csm_chat.commands.terminal.table import table

    plan = _plan(args)
    if args.random is not None and args.model is not None:
        raise UsageError("--random makes a model of its own; leave --model out")
    if args.plot:
        plot.check(args.plot)
    console = Console(quiet=args.quiet)
    with console.bar(None) as bar:

        def progress(step: str) -> None:
            bar.update(0, step)

        with _wanted(args, config, console.note, progress) as wanted:
            report = measure(wanted, plan, bool(args.vs), console.note, progress)
    is_random = args.random is not None
    if args.json:
        put_json(report.fields(is_random))
    else:
        put(*report.lines(is_random), "", *table(report.heads(), report.rows()))
    if args.plot:
        plot.write(args.plot, report.points, report.lines(is_random)[0])
    return 0


def _plan(args: Namespace) -> Plan:
    """Raises UsageError."""
    from csm_chat.bench.run import Plan

    given = {
        "n_rows": _count("--rows", args.rows),
        "n_frames": _count("--frames", args.frames, MAX_FRAMES),
        "n_said_rows": _count("--said", args.said),
        "n_takes": _count("--takes", args.takes, MAX_TAKES),
    }
    return replace(Plan(), **{key: n for key, n in given.items() if n is not None})


def _count(flag: str, text: str | None, most: int = sys.maxsize) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= most):
        upper = "" if most == sys.maxsize else f" up to {most}"
        raise UsageError(f"{flag} {text}: give a whole number above 0{upper}")
    return int(text)


@contextmanager
def _wanted(
    args: Namespace, config: Config, notify: Callable[[str], None], progress: Callable[[str], None]
) -> Iterator[Wanted]:
    """What to measure. Random weights in a temporary folder go with the `with`."""
    from csm_chat.bench.answers import Wanted

    settings = config.backend, config.device, config.dtype, config.quantize, config.graphs
    wanted = Wanted(config.model, *settings)
    if args.random is None:
        yield wanted
    elif args.random:
        folder = expanded(args.random, "--random")
        _write_random(folder, notify, progress)
        yield replace(wanted, model=str(folder), packed=str(folder / "packed"))
    else:
        with _temporary() as folder:
            _write_random(folder, notify, progress)
            yield replace(wanted, model=str(folder), packed=str(folder / "packed"))


def _write_random(
    folder: Path, notify: Callable[[str], None], progress: Callable[[str], None]
) -> None:
    """Unless it is there. Raises UsageError."""
    from csm_chat.bench.process import Remote
    from csm_chat.bench.random_checkpoint import Writer, is_there

    if not is_there(folder):
        progress("random weights")
        Remote(Writer, str(folder), notify=notify).close()


@contextmanager
def _temporary() -> Iterator[Path]:
    """A folder on the disk, which the system's one for temporary files need not be."""
    from csm_chat.places import cache_folder

    root = cache_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix="bench-", dir=root)
    except OSError as error:
        raise CsmChatError(f"{root}: {error.strerror}; name a folder: --random DIR") from error
    with folder as name:
        yield Path(name)
