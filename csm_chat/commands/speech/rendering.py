"""One run of `csm-chat render`: a model loaded once, scripts said one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from csm_chat import assemble
from csm_chat.casting.names import label
from csm_chat.commands.terminal.wording import COMMAND_LINE
from csm_chat.conversation.tokenizer import estimate_s
from csm_chat.errors import Interrupted
from csm_chat.notices import (
    DirectionDropped,
    ForeignScript,
    ModelReady,
    NothingHeard,
    NothingToSay,
    RandomVoice,
    Reporting,
    VoicesUncompared,
)
from csm_chat.printing import put_path
from csm_chat.scene.export import Options, SceneTurn, write_scene
from csm_chat.scene.mix import Piece
from csm_chat.scene.speak import MAX_RETRIES, PlannedTurn, plan, speak, split_turns
from csm_chat.shape.stream import PLAIN, shaped
from csm_chat.types import SAMPLE_RATE, Shape, Verdict
from csm_chat.wording import heard, words

if TYPE_CHECKING:
    from csm_chat.audio.watermark.marking import Watermark
    from csm_chat.commands.terminal.console import Bar, Console
    from csm_chat.config.settings import Config
    from csm_chat.conversation.session import Session
    from csm_chat.notices import Notice
    from csm_chat.scene.folder import SavedTurn, SceneFolder
    from csm_chat.scene.script import Script
    from csm_chat.types import Pcm

log = logging.getLogger(__name__)

BLOCK_SAMPLES = 10 * SAMPLE_RATE  # marked at a time
SHOWN_CHARS = 40  # of a turn, in messages
OF_TEXTS = (DirectionDropped, ForeignScript, NothingToSay)
OF_CHECKS = (NothingHeard, VoicesUncompared)


class Rendering:
    """Renders scripts; loads model and voices for the first. One thread."""

    def __init__(
        self, config: Config, options: Options, console: Console, watermark: Watermark | None
    ) -> None:
        self._config = config
        self._options = options
        self._console = console
        self._watermark = watermark
        self._session: Session | None = None
        self._is_loading = True
        self._refused: Callable[[int], str] = lambda speaker: ""

    def script(self, script: Script, folder: SceneFolder) -> int:
        """Render one and print its mix; how many turns did not end by themselves.

        Raises Interrupted on Ctrl-C; what was said by then is kept.
        """
        session = self._session = self._session or self._load()
        session.clear()
        session.manners = session.manners.knowing(script.names)
        name = folder.path.name
        self._tell_cast(script, session, name)
        seed = folder.seed(self._config.sampling.seed)
        turns = split_turns(script, session, self._options.gap_s)
        planned = plan(turns, session, folder, seed, script.picks)
        n_known = sum(each.saved is not None for each in planned)
        if n_known:
            self._console.note(f"{name}: {n_known} of {len(planned)} turns were said before")
        spoken: list[SavedTurn] = []
        try:
            self._speak(planned, spoken, session, folder, script.names)
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"{name}: {max(len(spoken), n_known)} of {len(planned)} turns done; "
                "run it again to go on"
            ) from error
        told = [
            scene_turn(
                each, saved, script.names, session.manner(each.asked.utterance.speaker).shape
            )
            for each, saved in zip(planned, spoken, strict=True)
        ]
        self._write(told, script, folder, session, seed)
        return self._tell_failures(planned, spoken, script)

    def _load(self) -> Session:
        """An empty conversation, with the voices of the references folder."""

        def tell(notice: Notice) -> None:
            # later on most are of single takes
            log.info(words(notice, COMMAND_LINE))
            if self._is_loading or isinstance(notice, (*OF_TEXTS, *OF_CHECKS)):
                self._console.tell(notice)

        with self._console.bar(None) as bar:
            reports = Reporting(tell, lambda step: bar.update(0, step))
            session = assemble.open_session(self._config, reports)
            bar.update(0, "the voices")
            library = assemble.open_library(self._config, session.backend.codec, tell)
            session.voices = library.load()
            self._refused = library.refused
            session.checks = assemble.open_checks(self._config, session.backend.codec, tell)
            bar.update(0, "the ear")
            session.checks.load()
        self._is_loading = False
        backend = session.backend
        self._console.tell(
            ModelReady(backend.name, backend.device, assemble.numbers(backend), rtf=None)
        )
        return session

    def _tell_cast(self, script: Script, session: Session, name: str) -> None:
        """Who has no clip: a whole scene in an unexpected voice would be dear."""
        voiced = {voice.speaker for voice in session.voices}
        speakers = dict.fromkeys(turn.utterance.speaker for turn in script.turns)
        unvoiced = [n for n in speakers if n not in voiced]
        for n in unvoiced:
            if reason := self._refused(n):
                self._console.tell(RandomVoice(n, reason))
        missing = [label(n, script.names) for n in unvoiced if not self._refused(n)]
        if missing:
            has = "has no clip" if len(missing) == 1 else "have no clips"
            self._console.note(f"{name}: {', '.join(missing)} {has}: a random voice each")

    def _speak(
        self,
        planned: Sequence[PlannedTurn],
        spoken: list[SavedTurn],
        session: Session,
        folder: SceneFolder,
        names: Mapping[int, str],
    ) -> None:
        """Say all, adding to `spoken`. The bar counts seconds of speech, as expected."""
        expected_s = [0.0 if p.saved else estimate_s(p.asked.utterance.text) for p in planned]
        with self._console.bar(sum(expected_s), "s") as bar:
            told = _Progress(bar, folder.path.name, expected_s)
            for saved in speak(planned, session, folder, names, told.heard):
                spoken.append(saved)
                told.next()

    def _write(
        self,
        turns: Sequence[SceneTurn],
        script: Script,
        folder: SceneFolder,
        session: Session,
        seed: int,
    ) -> None:
        about = dict(assemble.about(session))
        about["sampling"] = asdict(replace(session.sampling, seed=seed))
        about["context"] = asdict(session.context)
        about["script"] = script.path.name
        about["picks"] = dict(script.picks)
        about["watermark"] = self._watermark.name if self._watermark else None
        options = replace(self._options, tail_s=script.tail_s)
        with self._console.bar(sum(t.piece.n_samples for t in turns) / SAMPLE_RATE, "s") as bar:
            scene, path = write_scene(
                folder.path, turns, options, about, lambda pcm: self._marked(pcm, bar)
            )
        minutes, seconds = divmod(round(scene.n_samples / SAMPLE_RATE), 60)
        self._console.note(
            f"{folder.path.name}: {len(turns)} turns, {len(scene.speakers)} speakers, "
            f"{minutes}:{seconds:02d}, {options.gap_s:g} s between turns"
        )
        put_path(path)

    def _marked(self, pcm: Pcm, bar: Bar) -> Pcm:
        """With the watermark: half an hour of it takes minutes."""
        if self._watermark is None:
            return pcm
        bar.grow(len(pcm) / SAMPLE_RATE)
        marking = self._watermark.stream()
        blocks = []
        for start in range(0, len(pcm), BLOCK_SAMPLES):
            blocks.append(marking.write(pcm[start : start + BLOCK_SAMPLES]))
            bar.update(start / SAMPLE_RATE, "watermark")
        return np.concatenate([*blocks, marking.end()])

    def _tell_failures(
        self, planned: Sequence[PlannedTurn], spoken: Sequence[SavedTurn], script: Script
    ) -> int:
        bad = [each for each in zip(planned, spoken, strict=True) if each[1].ended != "eos"]
        for each, _ in bad:
            text = each.asked.utterance.text
            quoted = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS].rstrip()}..."
            self._console.warn(
                f'{script.path}:{each.asked.line}  "{quoted}" did not end by itself in '
                f"{1 + MAX_RETRIES} takes; the last is kept. Other words or another --seed may help"
            )
        self._tell_misheard(planned, spoken, script)
        return len(bad)

    def _tell_misheard(
        self, planned: Sequence[PlannedTurn], spoken: Sequence[SavedTurn], script: Script
    ) -> None:
        """The lines that somebody has to listen to."""
        for each, saved in zip(planned, spoken, strict=True):
            verdict = verdict_of(saved)
            if verdict and not verdict.is_good:
                told = f"turn {each.number}, {heard(verdict)}; the best of {verdict.tries} takes"
                self._console.warn(f"{script.path}:{each.asked.line}  {told}")


class _Progress:
    """Moves the bar while turns are said."""

    def __init__(self, bar: Bar, name: str, expected_s: Sequence[float]) -> None:
        self._bar = bar
        self._name = name
        self._expected_s = expected_s
        self._n_done = 0

    def heard(self, seconds: float) -> None:
        expected_s = self._expected_s[self._n_done]
        self._show(sum(self._expected_s[: self._n_done]) + min(seconds, expected_s))

    def next(self) -> None:
        self._n_done += 1
        self._show(sum(self._expected_s[: self._n_done]))

    def _show(self, done_s: float) -> None:
        n_turns = len(self._expected_s)
        self._bar.update(done_s, f"{self._name} {min(self._n_done + 1, n_turns)}/{n_turns}")


def scene_turn(
    planned: PlannedTurn, saved: SavedTurn, names: Mapping[int, str], shape: Shape = PLAIN
) -> SceneTurn:
    """A turn in its pace; how loud it is besides is settled in the mix."""
    said = planned.asked.utterance
    pace = Shape(shape.speed)
    piece = Piece(
        said.speaker,
        label(said.speaker, names),
        said.text,
        saved.n_samples if shape.speed == 1 else round(saved.n_samples / shape.speed),
        lambda: shaped(saved.pcm(), pace),
        planned.asked.pause_s,
        shape.gain_db,
    )
    how = (said.mood, shape.speed, saved.check)
    return SceneTurn(piece, saved.seed, saved.ended, planned.asked.line, *how)


def verdict_of(saved: SavedTurn) -> Verdict | None:
    """What was heard of a turn, in this run or an earlier one."""
    if not saved.check:
        return None
    return Verdict(**saved.check | {"problems": tuple(saved.check["problems"])})
