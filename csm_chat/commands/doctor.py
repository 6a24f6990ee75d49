"""`csm-chat doctor`: whether all that speaking needs is there, and how to get what is not."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from csm_chat.commands.checks import CHECKS, Check
from csm_chat.commands.terminal import flags
from csm_chat.printing import put, put_json

if TYPE_CHECKING:
    from csm_chat.config.settings import Config


def add_arguments(parser: ArgumentParser) -> None:
    settings = (
        flags.MODEL,
        flags.BACKEND,
        flags.DEVICE,
        flags.REFERENCES,
        flags.TAKES,
        flags.AUDIO,
    )
    flags.add_settings(parser, *settings, flags.WHISPER)
    parser.add_argument("--json", action="store_true", help="a list for programs")
    parser.set_defaults(bad_config=None)  # a config.yaml that is wrong is one of the checks


def run(args: Namespace, config: Config) -> int:
    found = []
    for check in _checked(args, config):
        found.append(check)
        if not args.json:
            put(_line(check))
    if args.json:
        put_json([asdict(check) for check in found])
    return 1 if any(check.state == "FAIL" for check in found) else 0


def _checked(args: Namespace, config: Config) -> Iterator[Check]:
    if args.bad_config:
        text = "; ".join(str(args.bad_config).splitlines())
        yield Check("config", "FAIL", text, "correct it; all else was checked by the defaults")
    for look in CHECKS:
        yield from look(config, args.config)


def _line(check: Check) -> str:
    fix = f"  -> {check.fix}" if check.fix else ""
    return f"{check.state:4}  {check.name:11} {check.found}{fix}"
