"""The mark in saved files, put into real speech and found again: perth's own networks."""

from __future__ import annotations

import io
import itertools
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from csm_chat import assemble
from csm_chat.audio.clips import read_clip, resample
from csm_chat.audio.files import from_16_bit, to_16_bit, write_clip
from csm_chat.audio.takes import Takes
from csm_chat.audio.watermark.finding import Mark, _cut, find
from csm_chat.audio.watermark.marking import Watermark, detectors, open_watermark
from csm_chat.audio.watermark.silentcipher import CSM_KEY, KEY_VARIABLE
from csm_chat.cli import main
from csm_chat.config.settings import Config, WatermarkConfig
from csm_chat.errors import ConfigError, WatermarkError
from csm_chat.training.speech.espeak import HELD_OUT_VOICES, speak
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Pcm, Segment, Timings, Turn
from csm_chat.wording import lines_to
from tests.program import piped, takes

LINES = ("The weather will be fine tomorrow, they say.", "Oh, hello.")
VOICES = HELD_OUT_VOICES[::6]


@cache
def perth() -> Watermark:
    return open_watermark("perth", None, {})


@cache
def speech() -> tuple[Pcm, ...]:
    return tuple(speak(line, voice).pcm for voice in VOICES for line in LINES)


@cache
def marked() -> tuple[Pcm, ...]:
    return tuple(perth().mark(pcm) for pcm in speech())


def detect(pcm: Pcm, watermark: Watermark | None = None) -> Mark | None:
    return (watermark or perth()).detect([pcm]).mark


def snr_db(pcm: Pcm, changed: Pcm) -> float:
    return float(10 * np.log10(np.mean(np.square(pcm)) / np.mean(np.square(changed - pcm))))


def as_mp3(pcm: Pcm) -> Pcm:
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, SAMPLE_RATE, format="mp3")
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    return np.asarray(decoded, np.float32)


def at_16_khz(pcm: Pcm) -> Pcm:
    return resample(resample(pcm, SAMPLE_RATE, 16_000), 16_000, SAMPLE_RATE)


def as_16_bit(pcm: Pcm) -> Pcm:
    return from_16_bit(to_16_bit(pcm))


CHANGES = {"as it is": lambda pcm: pcm, "quiet": lambda pcm: pcm * 0.03, "16 bit": as_16_bit}
CHANGES |= {"mp3": as_mp3, "16 kHz": at_16_khz, "in a pause": lambda pcm: np.pad(pcm, 48_000)}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_marked_speech_is_found_and_unmarked_is_not(change: Callable[[Pcm], Pcm]) -> None:
    found = [detect(change(pcm)) for pcm in marked()]
    assert [mark.method for mark in found if mark] == ["perth"] * len(speech())
    assert [detect(change(pcm)) for pcm in speech()] == [None] * len(speech())


def test_the_mark_is_16_db_below_speech_and_within_its_bands(
    record_property: Callable[[str, object], None],
) -> None:
    figures = [snr_db(pcm, changed) for pcm, changed in zip(speech(), marked(), strict=True)]
    record_property("snr_db", [round(figure, 1) for figure in figures])
    assert 14 < np.mean(figures) < 20
    change = marked()[0] - speech()[0]
    power = np.square(np.abs(np.fft.rfft(change)))
    bands = np.fft.rfftfreq(len(change), 1 / SAMPLE_RATE) < 2100
    assert power[~bands].sum() < 1e-4 * power.sum()


def test_five_minutes_in_pieces_are_the_whole_without_a_step() -> None:
    five = np.resize(np.concatenate(speech()), 300 * SAMPLE_RATE)
    in_pieces = perth().mark(five)
    assert len(in_pieces) == len(five)
    for start_s in (0, 150, 280):
        cut = slice(start_s * SAMPLE_RATE, (start_s + 20) * SAMPLE_RATE)
        whole = perth()._method.mark(five[cut])
        inner = slice(SAMPLE_RATE, -SAMPLE_RATE)  # the cut has ends that the file has not
        assert np.abs(in_pieces[cut][inner] - whole[inner]).max() < 1e-5
        mark = detect(in_pieces[cut])
        assert mark is not None
        assert mark.seconds == pytest.approx(20, abs=0.1)


def test_what_comes_in_frames_goes_out_as_from_one_piece() -> None:
    pcm = np.concatenate(speech())
    marking = perth().stream()
    frames = np.split(pcm, range(FRAME_SAMPLES, len(pcm), FRAME_SAMPLES))
    given = [marking.write(frame) for frame in frames]
    assert sum(map(len, given)) > len(pcm) - 3 * SAMPLE_RATE  # the rest is held
    given.append(marking.end())
    assert np.array_equal(np.concatenate(given), perth().mark(pcm))
    assert np.array_equal(marking.write(pcm[:0]), pcm[:0])
    assert len(marking.end()) == 0


@pytest.mark.parametrize("n_samples", [0, 1, 240, 2400, 30_000])
def test_silence_and_scraps_keep_their_length(n_samples: int) -> None:
    silence = np.zeros(n_samples, np.float32)
    assert np.array_equal(perth().mark(silence), silence)
    assert detect(silence) is None
    scrap = perth().mark(speech()[0][:n_samples])
    assert len(scrap) == n_samples
    assert np.isfinite(scrap).all()


def test_marked_seconds_of_a_mixed_file_are_counted() -> None:
    real, synthetic = np.concatenate(speech()), np.concatenate(marked())
    n = 10 * SAMPLE_RATE
    mark = detect(np.concatenate([np.resize(real, n), np.resize(synthetic, n)]))
    assert mark is not None
    assert mark.seconds == pytest.approx(10, abs=0.5)


# where it is


def voice_line(voice: int) -> Pcm:
    return np.concatenate([speak(line, HELD_OUT_VOICES[3 * voice]).pcm for line in LINES])


def real_seconds(seconds: float, voice: int) -> Pcm:
    return np.resize(voice_line(voice), round(seconds * SAMPLE_RATE))


def between(around: Pcm, inner: Pcm) -> Pcm:
    return np.concatenate([around, inner, around])


def noise(seconds: float, rms: float) -> Pcm:
    drawn = np.random.default_rng(3).standard_normal(round(seconds * SAMPLE_RATE))
    return (rms * drawn).astype(np.float32)


AROUND = {"speech": real_seconds(2, 3), "faint noise": noise(2, 1e-3)}
AROUND |= {"noise of 16 bits": as_16_bit(noise(2, 3e-5)), "silence": noise(2, 0.0)}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("voice", range(3))
def test_a_marked_scene_is_found_with_its_place(around: Pcm, voice: int) -> None:
    scene = perth().mark(voice_line(voice))
    mark = detect(between(around, scene))
    assert mark is not None
    (place,) = mark.places
    assert place.start_s == pytest.approx(2, abs=0.5)
    assert place.end_s == pytest.approx(2 + len(scene) / SAMPLE_RATE, abs=0.5)
    assert detect(between(around, voice_line(voice))) is None


def test_two_places_are_two() -> None:
    scene, real = np.resize(perth().mark(voice_line(0)), 4 * SAMPLE_RATE), real_seconds(4, 1)
    mark = detect(np.concatenate([scene, real, scene, real]))
    assert mark is not None
    ends = [(place.start_s, place.end_s) for place in mark.places]
    assert ends == [pytest.approx((0, 4), abs=0.5), pytest.approx((8, 12), abs=0.5)]
    assert mark.seconds == pytest.approx(8, abs=1)


def steady() -> dict[str, Pcm]:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    waves: dict[str, Pcm] = {}
    for hz in (50, 110, 150, 220, 300, 440, 880, 1000):
        wave = np.sin(2 * np.pi * hz * time)
        for level in (0.01, 0.1, 0.9):
            waves[f"tone {hz} {level}"] = (level * wave).astype(np.float32)
            waves[f"square {hz} {level}"] = (level * np.sign(wave)).astype(np.float32)
    for level in (0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.9, -0.5):
        waves[f"constant {level}"] = np.full(len(time), level, np.float32)
    assert len(waves) == 56
    return waves


def test_no_steady_sound_is_marked() -> None:
    waves = steady()
    waves |= {f"white {rms}": noise(2, rms) for rms in (0.0, 2e-5, 1e-3, 0.01, 0.1, 0.3)}
    waves |= {
        f"{name}, late": np.pad(wave, (9000, 0)) for name, wave in waves.items() if " 0.1" in name
    }
    assert [name for name, wave in waves.items() if detect(wave)] == []


class Chance:
    """A detector that takes given windows for marked."""

    name, threshold = "chance", 0.7

    def __init__(self, taken: set[int], window_samples: int = SAMPLE_RATE // 2) -> None:
        self.window_samples, self.step_samples = window_samples, window_samples // 2
        self._taken = taken
        self._asked = itertools.count()

    def confidences(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.array([float(next(self._asked) in self._taken) for _ in windows], np.float32)


def hour(seconds: int = 3600) -> Iterator[Pcm]:
    block = real_seconds(5, 0) + noise(5, 1e-3)
    return itertools.repeat(block, seconds // 5)


def test_a_longer_file_needs_a_longer_place() -> None:
    assert find(Chance({4, 5}), hour(5)).mark is not None  # one and a half windows
    by_chance = set(range(10, 14_000, 1000)) | {500, 501}  # FIRST of an hour, and two in a row
    assert find(Chance(by_chance), hour()).mark is None
    mark = find(Chance(by_chance | set(range(8000, 8010))), hour()).mark
    assert mark is not None
    (place,) = mark.places
    assert place.start_s == pytest.approx(2000, abs=0.5)
    assert place.end_s == pytest.approx(2002.5, abs=0.5)


def test_a_place_never_ends_before_it_begins() -> None:
    changing = np.concatenate([pitch(hz) for hz in (200, 900, 300, 2000)])
    pcm = np.concatenate([noise(1.26, 0.0), np.tile(changing, 10)])
    assert find(Chance({0}, SAMPLE_RATE), [pcm]).mark is None
    assert find(Chance({0, 1}, SAMPLE_RATE), [pcm]).mark is not None


def pitch(hz: float) -> Pcm:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(1400) / SAMPLE_RATE)).astype(np.float32)


def test_memory_is_flat_however_long_a_file_is() -> None:
    tracemalloc.start()
    try:
        found = find(Chance(set()), hour(1200))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.seconds == 1200
    assert peak < 20e6  # the samples alone are 115 MB


@pytest.mark.parametrize("n_samples", [1, 5000, 24_000, 24_001, 36_000, 36_001, 100_000])
@pytest.mark.parametrize("n_block", [1000, 65_536, 200_000])
def test_windows_reach_from_the_first_to_the_last_sample(n_samples: int, n_block: int) -> None:
    pcm = np.arange(n_samples, dtype=np.float32)
    blocks = [pcm[i : i + n_block] for i in range(0, n_samples, n_block)]
    windows = list(_cut(blocks, 24_000, 12_000))
    assert all(np.array_equal(got, pcm[start : start + 24_000]) for start, got in windows)
    starts = [start for start, _ in windows]
    n_last = max(0, n_samples - 24_000)
    assert starts == [*range(0, n_last, 12_000), n_last]


def test_a_missing_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for method in ("perth", "silentcipher"):
        with pytest.raises(WatermarkError, match=f"{method} is not installed: pip install"):
            open_watermark(method, None, {})


def test_without_the_package_files_are_saved_unmarked_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said: list[str] = []
    assert assemble.open_watermark(Config(), lines_to(said.append)) is None
    (words,) = said
    assert "resemble-perth is not installed" in words
    assert words.endswith("Files are saved without a watermark")


# takes and the commands


def test_files_of_a_session_are_marked(checkpoint: Path, tmp_path: Path) -> None:
    flags = ["--model", str(checkpoint), "--seed", "7", "--audio", "off"]
    ran = piped("Hi there, you two!||Oh, hello.\n", *flags, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "watermark: perth, on saved files" in ran.stderr
    lines = next(tmp_path.glob("takes/*/takes.jsonl")).read_text().splitlines()
    assert [json.loads(line)["watermark"] for line in lines] == ["perth"] * 2
    said = [read_clip(path).pcm for path in takes(tmp_path)]
    (scene,) = tmp_path.glob("takes/*/*scene.wav")
    assert np.array_equal(read_clip(scene).pcm, np.concatenate(said))
    # random weights say nothing that is like speech, so the detector is asked without that check
    assert [perth()._method.confidences(pcm[None])[0] > 0.7 for pcm in said] == [True, True]


def test_off_is_said_and_nothing_is_marked() -> None:
    said: list[str] = []
    off = Config(watermark=WatermarkConfig(method="off"))
    assert assemble.open_watermark(off, lines_to(said.append)) is None
    assert said == ["watermark: off (watermark.method)"]


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_take_holds_what_was_said_marked_or_as_it_is(tmp_path: Path, is_marked: bool) -> None:
    complaints: list[str] = []
    pcm = np.concatenate(speech())
    folder = Takes(tmp_path, lines_to(complaints.append), watermark=perth() if is_marked else None)
    take = folder.open("ana")
    for frame in np.split(pcm, range(FRAME_SAMPLES, len(pcm), FRAME_SAMPLES)):
        take.write(frame)
    (growing,) = tmp_path.rglob("*.part")
    assert is_marked == (detect(read_clip(growing).pcm) is not None)
    segment = Segment(0, "Hi.", np.zeros((0, 32), np.int32))
    path = take.finish(Turn(segment, 7, "cut", Timings(0.1, 1.0, len(pcm) / SAMPLE_RATE)), "ana")
    assert path is not None
    assert path.name == "001-ana.cut.wav"
    expected = perth().mark(pcm) if is_marked else pcm
    assert np.abs(read_clip(path).pcm - np.clip(expected, -1, 1)).max() < 2**-14
    line = json.loads((path.parent / "takes.jsonl").read_text())
    assert line["watermark"] == ("perth" if is_marked else None)
    assert complaints == []


def test_verify_says_from_when_to_when_and_what_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pcm = between(real_seconds(2, 1), np.resize(perth().mark(voice_line(0)), 7 * SAMPLE_RATE))
    write_clip(Path("mixed.wav"), pcm)
    assert main(["verify", "mixed.wav"]) == 0
    heads, line = capsys.readouterr().out.splitlines()
    assert heads.split() == ["file", "watermark", "confidence", "share", "seconds", "marked"]
    assert line.endswith("11.0     from 0:02 to 0:09")
    assert main(["verify", "--json", "mixed.wav"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    (place,) = told["places"]
    assert place["start_s"] == pytest.approx(2, abs=0.5)
    assert place["end_s"] == pytest.approx(9, abs=0.5)
    assert told["marked_s"] == pytest.approx(place["end_s"] - place["start_s"], abs=2e-3)
    assert told["share"] == pytest.approx(told["marked_s"] / 11, abs=1e-3)


def test_verify_prints_a_line_a_file_and_tells_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("marked.mp3"), marked()[0])
    write_clip(Path("plain.wav"), speech()[0])
    Path("broken.wav").write_text("not audio")
    assert main(["verify", "marked.mp3"]) == 0
    assert main(["verify", "marked.mp3", "plain.wav"]) == 1
    out, err = capsys.readouterr()
    assert "marked.mp3  perth" in out
    assert "plain.wav   not marked" in out
    assert "looked for: perth" in err
    assert main(["verify", "--json", "broken.wav", "marked.mp3", "plain.wav"]) == 4
    out, err = capsys.readouterr()
    listed = json.loads(out)
    assert [(each["file"], each["marked"]) for each in listed] == [
        ("marked.mp3", True),
        ("plain.wav", False),
    ]
    assert err.startswith("csm-chat: broken.wav: not readable as audio")


# silentcipher, by a package of its interface: its weights are on the hub


class Encoder44k:
    """Hides a message as its own kind of model would: found again whole, cut and joined."""

    config = SimpleNamespace(message_len=21, HOP_LENGTH=1024)
    tone = 9000.0  # plus 10 Hz for what the numbers add up to

    def encode_wav(self, y, orig_sr, message_list, message_sdr=None, calc_sdr=True, **_):
        assert (orig_sr, message_sdr, calc_sdr, y.dtype) == (44_100, 36, False, np.float32)
        assert np.mean(np.square(y)) > 0
        wave = np.sin(2 * np.pi * self._hz(message_list) * np.arange(len(y)) / 44_100)
        return y + 1e-3 * wave.astype(np.float64), 0

    def decode_wav(self, y, orig_sr, phase_shift_decoding):
        assert orig_sr == 44_100 and phase_shift_decoding is True
        spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
        hz = np.fft.rfftfreq(len(y), 1 / 44_100)
        high = hz > 8500
        peak = hz[high][spectrum[high].argmax()]
        if spectrum[high].max() < 100 * np.median(spectrum[high]):
            return {"messages": [], "confidences": [], "error": "none", "status": False}
        for message in self.known:
            if abs(self._hz(message) - peak) < 2:
                return {"messages": [message], "confidences": [1.0], "status": True}
        return {"messages": [[0] * 5], "confidences": [0.4], "status": True}

    known = ([*CSM_KEY], [1, 2, 3, 4, 250])

    def _hz(self, message):
        return self.tone + 10 * (sum(message) % 100)


@pytest.fixture
def silentcipher(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = ModuleType("silentcipher")

    def get_model(model_type: str, device: str) -> Encoder44k:
        assert model_type == "44.1k"
        assert device in ("cpu", "cuda")
        sys.stdout.write("Downloading")
        return Encoder44k()

    package.get_model = get_model  # type: ignore[attr-defined]
    package.__spec__ = SimpleNamespace(loader=None)  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "silentcipher", package)
    return package


def test_silentcipher_marks_with_the_csm_key_or_ones_own(
    silentcipher: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"
    file.write_text("[1, 2, 3, 4, 250]\n")
    pcm = np.resize(np.concatenate(speech()), 40 * SAMPLE_RATE)
    own, csm = detectors("silentcipher", file, {})
    assert capsys.readouterr().out == ""
    assert (own.words, csm.words) == ("silentcipher, own key", "silentcipher, CSM key")
    changed = own.mark(pcm)
    assert len(changed) == len(pcm)
    assert snr_db(pcm, changed) > 30
    mark = detect(changed, own)
    assert mark is not None and mark.method == "silentcipher"
    assert detect(changed, csm) is None
    assert detect(csm.mark(pcm), csm) is not None
    assert detect(pcm, own) is detect(pcm, csm) is None
    found = detect(between(pcm[: 10 * SAMPLE_RATE], changed), own)
    assert found is not None
    (place,) = found.places
    assert (place.start_s, place.end_s) == pytest.approx((10, 50), abs=3.5)  # half a window
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert np.array_equal(csm.mark(silence), silence)


def test_pieces_start_where_the_message_begins_again(silentcipher: ModuleType) -> None:
    method = open_watermark("silentcipher", None, {})._method
    period = 21 * 1024  # samples at 44.1 kHz
    for n_samples in (method.piece_samples, method.before_samples):
        assert n_samples * 44_100 % (SAMPLE_RATE * period) == 0


@pytest.mark.parametrize(
    "text",
    ["", "61 62 63 64", "61 62 63 64 256", "77 77 77 77 x77", "[61 62 63 64 65 66]", "\udcff"],
)
def test_a_wrong_key_is_refused_and_never_shown(
    silentcipher: ModuleType, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes(text.encode(errors="surrogateescape"))
    for path, environ in ((file, {}), (None, {KEY_VARIABLE: text})):
        with pytest.raises(ConfigError, match=r"a key is 5 whole numbers") as caught:
            open_watermark("silentcipher", path, environ)
        said = str(caught.value).replace("1 2 3 4 5", "").replace(str(file), "")
        assert not set(text.split()) & set(said.split())
        assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_key_file_that_is_not_there_is_named(silentcipher: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"watermark\.key_file: .*gone: No such file"):
        open_watermark("silentcipher", tmp_path / "gone", {})
