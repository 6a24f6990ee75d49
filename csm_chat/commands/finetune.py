"""`csm-chat finetune convert`: a folder of clips as a file to learn from."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.errors import UsageError
from csm_chat.printing import put_path

if TYPE_CHECKING:
    from csm_chat.config.settings import Config


def add_arguments(parser: ArgumentParser) -> None:
    steps = parser.add_subparsers(required=True, metavar="STEP", dest="step")
    convert = steps.add_parser(
        "convert",
        help="folders of clips, speaker<n> in each name and its words beside it, as a JSON file",
    )
    convert.add_argument("input_dir", type=Path, metavar="INPUT_DIR")
    convert.add_argument("output_json", type=Path, metavar="OUTPUT_JSON")
    flags.add_settings(convert)
    convert.add_argument("--quiet", action="store_true", help="errors only")


def run(args: Namespace, config: Config) -> int:
    from csm_chat.finetune.convert import conversations_of, write_conversations

    console = Console(quiet=args.quiet)
    found = conversations_of(args.input_dir)
    n_lines = sum(map(len, found))
    try:
        write_conversations(found, args.output_json)
    except OSError as error:
        raise UsageError(f"{args.output_json}: not written ({error.strerror})") from error
    console.note(f"{len(found)} conversations, {n_lines} lines")
    put_path(args.output_json)
    return 0
