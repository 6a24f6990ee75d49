"""`csm-chat download`: a model into the Hugging Face cache, where everything finds it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.commands.terminal.wording import COMMAND_LINE
from csm_chat.printing import put_path
from csm_chat.wording import words

if TYPE_CHECKING:
    from csm_chat.checkpoint.find import Progress
    from csm_chat.commands.terminal.console import Bar
    from csm_chat.config.settings import Config
    from csm_chat.notices import Notice


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="MODEL",
        help="a Hugging Face repository; else config.yaml's, else sesame/csm-1b",
    )
    flags.add_settings(parser)
    parser.add_argument("--quiet", action="store_true", help="errors only")


def run(args: Namespace, config: Config) -> int:
    from csm_chat.checkpoint.find import AUTO, find_checkpoint
    from csm_chat.checkpoint.hub.messages import MODEL_REPO

    console = Console(quiet=args.quiet)
    model = args.name or (MODEL_REPO if config.model == AUTO else config.model)
    told: list[Notice] = []

    def tell(notice: Notice) -> None:
        told.append(notice)
        console.note(f"downloading {words(notice, COMMAND_LINE)}")

    total = _Total(console)
    try:
        checkpoint = find_checkpoint(model, tell, total.read)
    except KeyboardInterrupt:
        console.warn("stopped; what came so far is kept, the same command goes on from there")
        raise
    finally:
        total.close()
    console.note(f"{model} is {'complete' if told else 'here already'}")
    put_path(checkpoint.weights)
    return 0


class _Total:
    """A bar, once the total is known."""

    def __init__(self, console: Console) -> None:
        from contextlib import ExitStack

        self._console = console
        self._stack = ExitStack()
        self._bar: Bar | None = None

    def read(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = self._stack.enter_context(self._console.bar(progress.total_bytes, "B"))
        self._bar.update(progress.done_bytes)

    def close(self) -> None:
        self._stack.close()
