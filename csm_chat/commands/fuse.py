"""`csm-chat fuse`: a checkpoint with a fine-tuned voice in its weights, for any tool to load."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.checkpoint.weights import LAYOUTS
from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.errors import CheckpointError, UsageError
from csm_chat.printing import put_path

if TYPE_CHECKING:
    from csm_chat.config.settings import Config


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("adapter_to_fuse", metavar="ADAPTER", help="a name or a folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="a new or empty folder"
    )
    parser.add_argument(
        "--layout",
        choices=(*LAYOUTS,),
        default="transformers",
        help="whose names the tensors get: Sesame's original, MLX' or transformers' (the default)",
    )
    flags.add_settings(parser, flags.MODEL)
    parser.add_argument("--quiet", action="store_true", help="errors only")


def run(args: Namespace, config: Config) -> int:
    from csm_chat import assemble
    from csm_chat.checkpoint.find import find_checkpoint
    from csm_chat.engine.torch.fuse import fuse

    console = Console(quiet=args.quiet)
    adapter = assemble.adapter_finder(config)(args.adapter_to_fuse)
    out: Path = args.output
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out}: holds something already; name a new folder")
    folder = find_checkpoint(config.model, console.tell).weights
    n_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    try:
        with console.bar(n_bytes, "B") as bar:
            fuse(folder, adapter, out, args.layout, bar.update)
    except OSError as error:
        raise CheckpointError(
            f"{out}: not written ({error.strerror}); name another folder"
        ) from error
    put_path(out)
    return 0
