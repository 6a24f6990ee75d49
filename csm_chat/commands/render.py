"""`csm-chat render`: scripts to scenes, each a folder of sound, subtitles and a picture."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat import assemble
from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.errors import EntryError, UsageError
from csm_chat.notices import ReferencesMissing
from csm_chat.places import expanded, inside

if TYPE_CHECKING:
    from csm_chat.config.settings import Config
    from csm_chat.scene.script import Script

DESCRIPTION = """
A script has an entry a line, written as at the prompt:

  # a comment
  Ana: Hi there!||Oh, hello.
  (pause 0.8)
  Ben: How are you? (pause 2) Anybody?
  Cleo: Who has no clip is given a voice, which is a random one.
  ---
  Ana: Dots, dashes or stars alone are a pause of a second.

SRT and WebVTT are read as cues, with the names in front or in voice tags as speakers.

A file beside it whose name has .picks at the end, as script.txt.picks, holds lines "pick: 12 2":
turn 12, as scene.json counts them, is its second take, said with another seed.

Each turn is kept as soon as it is said. Run again, turns that have not changed are not said anew;
neither --gap, --speed and --gain nor --format and --no-match change one.
"""
FAILED = 1
FORMATS = ("wav", "flac", "mp3", "ogg")
ROOT = Path("renders")
GAP_S = 0.35  # between turns, unless the settings say so


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = DESCRIPTION
    parser.add_argument(
        "scripts",
        nargs="+",
        type=Path,
        metavar="SCRIPT",
        help="text file, an entry a line; or .srt, .vtt",
    )
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        default=ROOT,
        metavar="DIR",
        help=f"where each script gets a folder of its own name (default {ROOT})",
    )
    parser.add_argument("--format", choices=FORMATS, default="wav", help="of mix and stems")
    parser.add_argument(
        "--no-match", action="store_true", help="leave each speaker as loud as the model made it"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")
    given = (*flags.COMPUTE, flags.SPEAKER, flags.REFERENCES)
    own = (flags.NO_NORMALIZE, flags.WHISPER, flags.CHECK)
    flags.add_settings(parser, *given, *flags.SAMPLING, *flags.SHAPE, *own)


def run(args: Namespace, config: Config) -> int:
    from csm_chat.commands.speech.rendering import Rendering
    from csm_chat.scene.export import Options
    from csm_chat.scene.folder import SceneFolder, unmarked

    # who has no clip is told of by name
    left_out = () if flags.names_references(args, config) else (ReferencesMissing,)
    console = Console(quiet=args.quiet, leaves_out=left_out)
    scripts = _scripts(args.scripts, config)
    targets = _targets(args.output, args.scripts)
    watermark = assemble.open_watermark(config, console.tell)
    mark = watermark.mark if watermark else unmarked
    folders = [SceneFolder(target, mark) for target in targets]
    for note in [note for script in scripts for note in script.notes]:
        console.note(note)
    options = Options(
        gap_s=GAP_S if config.gap is None else config.gap,
        match=not args.no_match,
        format=args.format,
    )
    rendering = Rendering(config, options, console, watermark)
    n_bad = 0
    for script, folder in zip(scripts, folders, strict=True):
        n_bad += rendering.script(script, folder)
    return FAILED if n_bad else 0


def _scripts(paths: Sequence[Path], config: Config) -> list[Script]:
    """All scripts, before anything is loaded. Raises what is wrong with all of them at once."""
    from csm_chat.scene.read import read_script
    from csm_chat.voices.references import expected_voices

    references = assemble.folder(config.references, "references")
    names, moods = expected_voices(references, config.named)
    scripts: list[Script] = []
    problems: list[str] = []
    for path in paths:
        try:
            scripts.append(read_script(path, config.speaker, names, config.offsets, moods))
        except EntryError as error:
            problems += error.lines
    if problems:
        raise EntryError(*problems)
    return _with_picks(scripts, config)


def _with_picks(scripts: Sequence[Script], config: Config) -> list[Script]:
    """The scripts and the takes that are wanted of them. Raises what is wrong with all of these."""
    from csm_chat.conversation.reading import Reading, pieces
    from csm_chat.notices import log_only
    from csm_chat.scene.picks import picks_path, read_picks

    longest_s = config.context.max_turn_s
    if not any(picks_path(script.path).exists() for script in scripts):
        return [*scripts]  # counting turns means reading all of them
    lexicon = assemble.open_lexicon(config, log_only)  # what is wrong with it, loading tells
    reading = Reading(config.normalize, lexicon, config.directions)
    picked: list[Script] = []
    problems: list[str] = []
    for script in scripts:
        texts = (turn.utterance.text for turn in script.turns)
        said = (text for text in texts if not reading.says_nothing(text))
        n_turns = sum(len(pieces(text, longest_s, reading)) for text in said)
        try:
            picks = read_picks(script.path, n_turns)
        except UsageError as error:
            problems += error.lines
            continue
        told = f"{picks_path(script.path)}: has a pick for {len(picks)} of {n_turns} turns"
        notes = (*script.notes, *([told] if picks else ()))
        picked.append(replace(script, picks=picks, notes=notes))
    if problems:
        raise UsageError(*problems)
    return picked


def _targets(root: Path, paths: Sequence[Path]) -> list[Path]:
    """A folder a script. Raises UsageError where two would share one."""
    taken: dict[str, Path] = {}
    for path in paths:
        other = taken.setdefault(path.stem.casefold(), path)
        if other is not path:
            raise UsageError(
                f"{other} and {path} would both be rendered to {root / path.stem}: "
                "give them different names, or render one of them with another -o"
            )
    return [inside(expanded(root, "-o"), path.stem, str(path)) for path in paths]
