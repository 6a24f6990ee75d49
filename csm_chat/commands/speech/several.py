"""`csm-chat say --times`: one line several times, a file each, to choose from."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat import assemble
from csm_chat.audio.player import OFF, Player
from csm_chat.commands.speech.output import Recording, check_output
from csm_chat.commands.speech.speaking import Speech
from csm_chat.conversation.directing import with_verdict
from csm_chat.errors import UsageError
from csm_chat.printing import put_path
from csm_chat.shape.stream import shaped
from csm_chat.wording import heard

if TYPE_CHECKING:
    from csm_chat.commands.speech.context_clips import Clip
    from csm_chat.commands.terminal.console import Console
    from csm_chat.config.settings import Config
    from csm_chat.types import Turn, Utterance

MOST = 64


def say_several(
    args: Namespace,
    config: Config,
    said: Sequence[Utterance],
    names: Mapping[int, str],
    clips: list[Clip],
    console: Console,
) -> int:
    """Say the one line of `said` as often as `--times` tells; the exit code.

    Raises UsageError, TakeError.
    """
    paths = _paths(args)
    if len(said) != 1:
        raise UsageError(f"--times says one line, here are {len(said)}; leave out || and new lines")
    watermark = assemble.open_watermark(config, console.tell)
    speech = Speech(config, Player(OFF), None, names)
    session = speech.load(clips, console, [said[0].speaker])
    if len(session.split(said[0])) > 1:
        raise UsageError("--times says one turn; this is longer (context.max_turn_s)")
    with console.bar(None) as bar:
        bar.update(0, f"speaking, {len(paths)} times")
        takes = session.takes(said[0], len(paths))
        if speech.checks and speech.checks.is_on:
            bar.update(0, "hearing")
            listen = partial(with_verdict, session=session, checks=speech.checks)
            takes = [(listen(turn, pcm), pcm) for turn, pcm in takes]
    for path, (turn, pcm) in zip(paths, takes, strict=True):
        output = Recording(
            path, force=args.force, marking=watermark.stream() if watermark else None
        )
        output.write(shaped(pcm, turn.shape))
        _tell(output.finish(cut=False), turn, console)
    speech.figures.turns += [turn for turn, _ in takes]
    if args.stats or args.debug:
        console.warn(*speech.figures.lines())
    return 0 if all(turn.ended == "eos" for turn, _ in takes) else 1


def _paths(args: Namespace) -> list[Path]:
    text = args.times
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= MOST):
        raise UsageError(f"--times {text}: give a whole number from 1 to {MOST}")
    if not args.output or args.output == "-" or args.encoding or args.play:
        raise UsageError("--times writes files, which -o FILE names; it plays and pipes nothing")
    path = Path(args.output)
    paths = [path.with_stem(f"{path.stem}-{i}") for i in range(1, int(text) + 1)]
    for each in paths:
        check_output(each, args.force)
    return paths


def _tell(path: Path | None, turn: Turn, console: Console) -> None:
    if path is None:
        console.warn(f"seed {turn.seed} gave no sound, and no file")
        return
    how = "" if turn.ended == "eos" else ", did not end by itself"
    pace = "" if turn.shape.speed == 1 else f", speed {turn.shape.speed:g}"
    seconds = turn.timings.audio_s / turn.shape.speed
    told = f"; {heard(turn.verdict)}" if turn.verdict else ""
    console.note(f"{path.name}: {seconds:.1f} s{pace}, seed {turn.seed}{how}{told}")
    put_path(path)
