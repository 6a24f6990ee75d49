"""`csm-chat say`: text into a file, a pipe or the loudspeaker. Puts one such run together."""

from __future__ import annotations

import logging
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from csm_chat.commands.speech import context_clips
from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.commands.terminal.given import given_text
from csm_chat.errors import CsmChatError, EntryError, UsageError
from csm_chat.notices import NothingToSay, ReferencesMissing, TextRemark
from csm_chat.printing import put_path

if TYPE_CHECKING:
    from io import BufferedReader

    from csm_chat.audio.player import Player
    from csm_chat.casting.moods import Moods
    from csm_chat.commands.speech.output import Output
    from csm_chat.config.settings import Config
    from csm_chat.conversation.grammar import Entry

log = logging.getLogger(__name__)

EXAMPLES = """
examples:
  csm-chat say "Hi there!||Oh, hello."                  hear it
  csm-chat say -o hello.mp3 --speaker ana "Hello."      save it
  some-language-model | csm-chat say -                  hear it while it is written
  csm-chat say -o - "Over there." | ssh laptop play -   send it on
  csm-chat say -n 8 -o line.wav "To be, or not to be."  take your pick of line-1.wav to line-8.wav
"""
STDIN = STDOUT = "-"


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help="as at the prompt; - reads standard input"
    )
    _add_outputs(parser)
    parser.add_argument("-s", "--speaker", dest="who", metavar="WHO", help="number or name")
    context_clips.add_arguments(parser)
    settings = (*flags.COMPUTE, *flags.SAMPLING, *flags.SHAPE, flags.PRESET)
    own = (flags.NO_NORMALIZE, flags.REFERENCES, flags.AUDIO, flags.CHECK, flags.WHISPER)
    flags.add_settings(parser, *settings, *own)
    parser.add_argument("--stats", action="store_true", help="how fast it went, as a table")
    parser.add_argument("--quiet", action="store_true", help="errors only")


def _add_outputs(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("where it goes (without either it is played)")
    group.add_argument(
        "-o", "--output", metavar="FILE", help="wav, flac, mp3 or ogg; - is a WAV to a pipe"
    )
    group.add_argument("--play", action="store_true", help="to the loudspeaker, too")
    group.add_argument("--force", action="store_true", help="replace a file of that name")
    group.add_argument(
        "-n", "--times", metavar="N", help="say one line N times, into FILE-1 to FILE-N"
    )
    for name, encoding, words in (
        ("--raw", "s16", "16-bit whole numbers"),
        ("--raw-float", "f32", "32-bit floats"),
    ):
        group.add_argument(
            name,
            dest="encoding",
            action="store_const",
            const=encoding,
            help=f"bare samples to a pipe: {words}, little endian, mono, 24 kHz",
        )


def run(args: Namespace, config: Config) -> int:
    from csm_chat import assemble
    from csm_chat.commands.speech.speaking import Speech
    from csm_chat.voices.references import expected_voices

    # who has no clip is told of by name
    left_out = () if flags.names_references(args, config) else (ReferencesMissing,)
    console = Console(quiet=args.quiet, leaves_out=left_out)
    references = assemble.folder(config.references, "references")
    names, moods = expected_voices(references, config.named)
    if args.who is not None:
        config = replace(config, speaker=speaker_number("--speaker", args.who, names))
    script = _Script(args.text, config, names, moods, console)
    names = script.names
    flag = "--context-text"
    args.context_text = [given_text(text, flag, console.tell) for text in args.context_text]
    clips = context_clips.read_clips(args, config.speaker, partial(speaker_number, names=names))
    if args.times is not None:
        from csm_chat.commands.speech.several import say_several

        said = [utterance for entry in script.entries() for utterance in entry.utterances]
        return say_several(args, config, said, names, clips, console)
    with ExitStack() as stack:
        player = stack.enter_context(_player(args, config, console))
        output = stack.enter_context(_Finishing(_output(args, config, console), console))
        speech = Speech(config, player, output.target, names)
        speech.load(clips, console, script.speakers)
        whole = speech.say(script.entries(), console, script.expected_s)
        output.complete()
        player.drain()
        speech.check_sound()
        if args.stats or args.debug:
            console.warn(*speech.figures.lines())
    return 0 if whole and not script.n_refused else 1


def speaker_number(flag: str, text: str, names: Mapping[int, str]) -> int:
    """Who is meant by a number or a name. Raises UsageError with the names there are."""
    from csm_chat.casting.names import by_name, folded
    from csm_chat.config.schema import nearest, shown
    from csm_chat.config.settings import MAX_SPEAKER

    text = text.strip()
    if re.fullmatch("[0-9]+", text) and int(text[:9]) <= MAX_SPEAKER:
        return int(text)
    known = by_name(names)
    if folded(text) in known:
        return known[folded(text)]
    guess = nearest(text, names.values())
    there = ", ".join(f"{name} ({number})" for number, name in sorted(names.items()))
    raise UsageError(
        f"{flag}: {shown(text)} is neither a number (0 - {MAX_SPEAKER}) nor a voice; "
        f"there is {there or 'no voice yet'}." + (f" Did you mean {guess}?" if guess else "")
    )


def _plays(args: Namespace) -> bool:
    return bool(args.play or not (args.output or args.encoding))


def _output(args: Namespace, config: Config, console: Console) -> Output | None:
    from csm_chat import assemble
    from csm_chat.commands.speech.output import Recording, check_output, open_pipe

    if not (args.output or args.encoding):
        return None
    if args.output in (None, "", STDOUT):
        return open_pipe(args.encoding)
    if args.encoding:
        raise UsageError(f"{args.output}: bare samples go to standard output only: -o -")
    path = Path(args.output)
    check_output(path, args.force)
    watermark = assemble.open_watermark(config, console.tell)
    return Recording(path, force=args.force, marking=watermark.stream() if watermark else None)


def _player(args: Namespace, config: Config, console: Console) -> Player:
    """Open if something is to be heard, else off. Raises DeviceError."""
    from csm_chat.audio.player import OFF, Player
    from csm_chat.commands.speech.speaking import opened_player

    if not _plays(args):
        return Player(OFF)
    player = opened_player(config, console, "-o FILE saves what is said instead")
    if not (args.output or args.encoding):
        console.note(f"playing on {player.status().device}; nothing is saved (-o FILE would)")
    return player


class _Finishing:
    """An output that is complete in the end, or marked as cut short by what went wrong."""

    def __init__(self, target: Output | None, console: Console) -> None:
        self.target = target
        self._console = console
        self._done = target is None

    def complete(self) -> None:
        """Print its path. Raises TakeError."""
        self._done = True
        path = self.target.finish(cut=False) if self.target else None
        if path:
            put_path(path)

    def __enter__(self) -> _Finishing:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._done or self.target is None:
            return
        try:
            path = self.target.finish(cut=True)
        except CsmChatError as error:  # the one on its way out is the one to be told
            log.debug("not kept: %s", error)
            return
        if path:
            self._console.warn(f"cut short: what was said is in {path}")


class _Script:
    """What is to be said: from the command line, or from standard input as it comes."""

    def __init__(
        self,
        words: Sequence[str],
        config: Config,
        names: Mapping[int, str],
        moods: Moods,
        console: Console,
    ) -> None:
        """Raises UsageError."""
        self.n_refused = 0
        self._n_skipped = 0
        self._config = config
        self.names = dict(names)  # with those that the text brings
        self._moods = moods
        self._console = console
        self._parsed: list[Entry] | None = None
        if not _from_stdin(words):
            said = [given_text(word, "TEXT", console.tell) for word in words]
            self._parsed = self._read(" ".join(said))

    @property
    def expected_s(self) -> float | None:
        """Seconds that saying it takes, roughly; None while nobody knows."""
        from csm_chat.conversation.tokenizer import estimate_s

        if self._parsed is None:
            return None
        return sum(estimate_s(u.text) for entry in self._parsed for u in entry.utterances)

    @property
    def speakers(self) -> set[int]:
        """Who speaks, as far as it is known; on standard input who speaks first."""
        if self._parsed is None:
            return {self._config.speaker}
        return {said.speaker for entry in self._parsed for said in entry.utterances}

    def entries(self) -> Iterator[Entry]:
        """Raises UsageError if standard input holds nothing."""
        return self._arriving() if self._parsed is None else iter(self._parsed)

    def _read(self, text: str) -> list[Entry]:
        from csm_chat.conversation.grammar import parse

        config = self._config
        lines: list[Entry] = []
        spoken: set[int] = set()
        try:
            for line in text.split("\n"):
                where = (line, config.speaker, self.names, config.offsets)
                lines.append(parse(*where, moods=self._moods, taken=spoken))
                self.names |= lines[-1].newcomers
                spoken |= {said.speaker for said in lines[-1].utterances}
        except EntryError as error:
            raise UsageError(f"TEXT: {error}") from error
        entries = [entry for entry in lines if entry.utterances]
        if not entries:
            raise UsageError("nothing to say: TEXT is empty; - reads standard input")
        return entries

    def _arriving(self) -> Iterator[Entry]:
        from csm_chat.commands.speech.text_stream import Arriving
        from csm_chat.plain_files import TextStream

        config = self._config
        arriving = Arriving(
            config.speaker, self.names, config.offsets, self._refuse, self._skip, self._moods
        )
        n_entries = 0
        stream = cast("BufferedReader", sys.stdin.buffer)
        for chunk in TextStream(stream, self._remark):
            for entry in arriving.feed(chunk):
                n_entries += 1
                yield entry
        for entry in arriving.close():
            n_entries += 1
            yield entry
        if not n_entries and not self.n_refused:
            what = "has no word in it" if self._n_skipped else "is empty"
            raise UsageError(f"nothing to say: standard input {what}")

    def _remark(self, words: str) -> None:
        self._console.tell(TextRemark("standard input", words))

    def _skip(self, text: str) -> None:
        self._n_skipped += 1
        self._console.tell(NothingToSay(text))

    def _refuse(self, error: EntryError) -> None:
        self.n_refused += 1
        self._console.warn(f"not said: {error}")


def _from_stdin(words: Sequence[str]) -> bool:
    if STDIN in words and len(words) > 1:
        raise UsageError("- reads standard input and stands alone; leave out the other words")
    if not words and sys.stdin.isatty():
        raise UsageError('nothing to say: csm-chat say "Hello."; - reads standard input')
    return list(words) in ([], [STDIN])
