"""Takes that are heard: what is wrong with them, and that hearing gives way and never breaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from csm_chat.checking import likeness
from csm_chat.checking.checks import Checks, Ear, judged
from csm_chat.checking.sound import is_cut, level_db
from csm_chat.checking.voices import Voices
from csm_chat.config.settings import CheckConfig, SamplingConfig
from csm_chat.conversation.session import Session
from csm_chat.conversation.take import whole
from csm_chat.errors import LikenessError, TranscriptError
from csm_chat.notices import NothingHeard, Notice, VoicesUncompared
from csm_chat.types import SAMPLE_RATE, Pcm, Segment, Turn, Utterance, Voice
from csm_chat.voices.transcribe import Transcriber
from csm_chat.wording import words
from tests.fakes import LevelCodec, ScriptedEar, fake_backend
from tests.whisper_checkpoint import make_whisper

SOUND = [40, 40, 2]  # a take that dies away
HI = Utterance("Hi there.", 0)
CODES = np.full((30, 4), 40, np.int32)


def speech(seconds: float, level: float = 0.2, *, dies_away: bool = True) -> Pcm:
    n = round(seconds * SAMPLE_RATE)
    pcm = level * np.random.default_rng(1).standard_normal(n).astype(np.float32)
    if dies_away:
        pcm[-n // 5 :] *= np.linspace(1, 0, len(pcm[-n // 5 :]), dtype=np.float32)
    return pcm


class Stage:
    def __init__(self, *heard: str | TranscriptError, retries: int = 2, **sampling: float) -> None:
        self.told: list[Notice] = []
        self.ear = ScriptedEar(*heard)
        backend = fake_backend([SOUND] * 9)
        settings = CheckConfig("words", retries)
        self.checks = Checks(settings, self.ear, backend.codec, self.told.append)
        config = SamplingConfig(seed=1, **sampling)  # type: ignore[arg-type]
        self.session = Session(backend, sampling=config, listener=self.told.append)
        self.session.checks = self.checks

    def say(self) -> Turn:
        pcm, turn = whole(self.session.take(HI))
        assert len(pcm) == round(turn.timings.audio_s * SAMPLE_RATE)
        return turn


# what a take is judged by


def test_a_take_that_is_as_asked_has_no_problem() -> None:
    verdict = judged("Hi there.", "Hi there!", speech(1), 0.9)
    assert (verdict.problems, verdict.n_wrong, verdict.likeness) == ((), 0, 0.9)
    assert -20 < verdict.level_db < -10


@pytest.mark.parametrize(
    ("pcm", "heard", "like", "problems"),
    [
        (speech(1), "Hi bear.", 0.9, ("words", "end")),
        (speech(1), "there", 0.9, ("words", "start")),
        (speech(1), "", None, ("words", "start", "end")),
        (speech(1, dies_away=False), "Hi there", 0.9, ("cut",)),
        (speech(3), "Hi there", 0.5, ("voice",)),
        (speech(1), "Hi there", 0.5, ()),  # too short to tell
        (speech(1, 0.001), "Hi there", 0.9, ("soft",)),
        (speech(1, 0.8), "Hi there", 0.9, ("loud",)),
        (np.zeros(0, np.float32), "", None, ("words", "start", "end", "soft")),
    ],
)
def test_each_thing_that_is_wrong_is_named(
    pcm: Pcm, heard: str, like: float | None, problems: tuple[str, ...]
) -> None:
    assert judged("Hi there.", heard, pcm, like).problems == problems


def test_a_word_in_twenty_may_be_misheard_within_a_line() -> None:
    line = "the quick brown fox jumps over one lazy dog and then it sleeps all day in that field"
    line = f"{line} behind our house"
    assert len(line.split()) == 21
    assert judged(line, line.replace("fox", "box"), speech(6), None).problems == ()
    heard = line.replace("fox", "box").replace("dog", "hog")
    assert judged(line, heard, speech(6), None).problems == ("words",)


def test_level_is_that_of_speech_however_long_the_rests() -> None:
    loud = speech(1, dies_away=False)
    rest = np.zeros(5 * SAMPLE_RATE, np.float32)
    assert level_db(np.concatenate([rest, loud, rest])) == pytest.approx(level_db(loud), abs=0.2)
    assert level_db(rest) == level_db(rest[:0]) == -120
    assert not is_cut(rest) and not is_cut(np.concatenate([loud, rest[:2400]])) and is_cut(loud)


# takes that are made again


def test_a_take_that_passes_is_the_first() -> None:
    s = Stage("Hi there.")
    turn = s.say()
    assert turn.verdict and (turn.seed, turn.verdict.tries) == (1, 1)
    assert s.session.turns == (turn,)


def test_the_one_with_fewest_words_wrong_is_kept_and_only_that_is_remembered() -> None:
    s = Stage("What?", "Hi.", "No no no.")
    turn = s.say()
    assert turn.verdict and (turn.seed, turn.verdict.heard, turn.verdict.tries) == (2, "Hi.", 3)
    assert s.session.turns == (turn,)
    assert s.session.undo() is turn and s.session.turns == ()


@pytest.mark.parametrize(
    ("stage", "n_takes"),
    [(Stage("No.", retries=0), 1), (Stage("No.", retries=4), 5), (Stage("No.", temperature=0), 1)],
)
def test_as_many_takes_are_made_as_may_be_and_differ(stage: Stage, n_takes: int) -> None:
    turn = stage.say()
    assert turn.verdict and turn.verdict.tries == len(stage.ear.heard) == n_takes


def test_a_retry_and_a_retake_are_checked_as_well() -> None:
    s = Stage("Hi there.", "No.", "Hi there.", "No.", "Oh, hello.")
    s.say()
    turn = whole(s.session.retry())[1]
    assert s.session.turns == (turn,) and turn.verdict and turn.verdict.tries == 2
    new = whole(s.session.retake(0, Utterance("Oh, hello.", 0)))[1]
    assert s.session.turns == (new,) and new.verdict and new.verdict.tries == 2


# what cannot be heard or compared


def test_what_cannot_be_heard_is_told_once_and_said_all_the_same() -> None:
    s = Stage(TranscriptError("Whisper failed (RuntimeError: no memory)"))
    assert [s.say().verdict for _ in range(2)] == [None, None]
    told = [notice for notice in s.told if isinstance(notice, NothingHeard)]
    assert [words(each) for each in told] == [
        "takes go unchecked: Whisper failed (RuntimeError: no memory)"
    ]
    assert len(s.session.turns) == 2


def test_a_failure_on_the_way_keeps_what_was_made() -> None:
    s = Stage("No.", TranscriptError("gone"))
    turn = s.say()
    assert turn.seed == 1 and turn.verdict and turn.verdict.heard == "No."


def test_without_what_compares_voices_that_is_told_once_and_words_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(likeness, "PACKAGE", "no_such_package")
    likeness._network.cache_clear()
    s = Stage("Hi there.")
    s.session.voices = (Voice(0, "ana", (Segment(0, "As it was.", CODES),)),)
    long = [40, 41] * 10 + [2]
    s.session.backend.engine.script[:] = [long, long]  # type: ignore[attr-defined]
    verdicts = [s.say().verdict for _ in range(2)]
    assert all(each and each.likeness is None and each.is_good for each in verdicts)
    told = [words(notice) for notice in s.told if isinstance(notice, VoicesUncompared)]
    assert len(told) == 1 and "--extra likeness" in told[0]
    likeness._network.cache_clear()


def test_a_voice_is_compared_with_what_the_codec_gives_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import csm_chat.checking.likeness as module

    asked: list[int] = []

    def voiceprint(samples: Pcm) -> Pcm:
        asked.append(len(samples))
        return np.array([1.0, 0.0], np.float32)

    monkeypatch.setattr(module, "voiceprint", voiceprint)
    voices = Voices(LevelCodec(), lambda notice: None)
    voice = Voice(0, "ana", (Segment(0, "As it was.", CODES),))
    assert voices.likeness(speech(2), voice) == voices.likeness(speech(2), voice) == 1.0
    assert asked == [32_000, 38_400, 32_000], "at 16 kHz, the voice once"
    assert voices.likeness(speech(0.5), voice) is voices.likeness(speech(2), None) is None


def test_a_missing_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "PACKAGE", "no_such_package")
    with pytest.raises(LikenessError, match="no_such_package is not installed"):
        likeness.weights()


# what every ear does: the tests' own, and Whisper


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper") / "tiny.pt", " Hi there.")


@pytest.fixture(params=["scripted", "whisper"])
def ear(request: pytest.FixtureRequest, whisper: Path) -> Ear:
    return ScriptedEar("Hi there.") if request.param == "scripted" else Transcriber(str(whisper))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
class TestEar:
    def test_it_hears_words_on_one_line(self, ear: Ear) -> None:
        ear.load()
        ear.load()
        assert ear.hear(speech(1), lambda: True) == "Hi there."
        assert ear.hear(speech(1), lambda: True) == "Hi there."

    def test_it_gives_way_and_hears_again(self, ear: Ear) -> None:
        assert ear.hear(speech(1), lambda: False) is None
        assert ear.hear(speech(1), lambda: True) == "Hi there."


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_whisper_gives_way_in_the_middle(whisper: Path) -> None:
    ear = Transcriber(str(whisper))
    n_asked = 0

    def wanted() -> bool:
        nonlocal n_asked
        n_asked += 1
        return n_asked < 4

    assert ear.hear(speech(1), wanted) is None
    assert n_asked == 4


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("error", [RuntimeError("no memory"), ValueError("NaN"), MemoryError()])
def test_what_whisper_fails_with_is_a_line(whisper: Path, error: Exception) -> None:
    ear = Transcriber(str(whisper))

    def fail() -> bool:
        raise error

    with pytest.raises(TranscriptError, match=f"Whisper failed .{type(error).__name__}"):
        ear.hear(speech(1), fail)


def test_no_weights_are_told_by_load(tmp_path: Path) -> None:
    told: list[Notice] = []
    missing = Transcriber(str(tmp_path / "none.pt"))
    checks = Checks(CheckConfig("words"), missing, LevelCodec(), told.append)
    assert not checks.load() and not checks.load() and not checks.is_on
    assert len(told) == 1 and "whisper.model" in words(told[0])


def test_loading_meanwhile_is_told_of_once(tmp_path: Path) -> None:
    ear = ScriptedEar("Hi there.")
    checks = Checks(CheckConfig("words"), ear, LevelCodec(), lambda notice: None)
    assert not checks.begin_loading()
    assert checks.load() and checks.begin_loading() and ear.n_loaded == 1
