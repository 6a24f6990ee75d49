"""From clips in a folder to voices, and what is said about each."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from csm_chat.errors import TranscriptError, VoiceError
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Codes, Pcm
from csm_chat.voices.clip_codes import PEAK, TAIL, excerpt
from csm_chat.voices.library import VoiceLibrary
from csm_chat.voices.references import (
    SpeakerIds,
    list_sources,
    natural_key,
    read_transcript,
)
from csm_chat.wording import lines_to
from tests.fakes import LevelCodec


def speech(seconds: float, level: float = 0.3, rate: int = SAMPLE_RATE) -> Pcm:
    """Syllables of a buzzing tone: 0.3 s of sound, 0.1 s of rest."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * harmonic * time) / harmonic for harmonic in range(1, 9))
    syllables = np.where(time % 0.4 < 0.3, np.sin(np.pi * (time % 0.4) / 0.3), 0)
    return (level / 2 * buzz * syllables).astype(np.float32)


def told_short(path: Path, share: float) -> Path:
    """A WAV whose header tells of that share of its samples."""
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    n_bytes = struct.unpack_from("<I", content, at)[0]
    struct.pack_into("<I", content, at, round(n_bytes * share) // 2 * 2)
    path.write_bytes(content)
    return path


def save(path: Path, pcm: Pcm, rate: int = SAMPLE_RATE, text: str | None = "Hello there.") -> Path:
    soundfile.write(path, pcm, rate)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


@dataclass
class Listener:
    """Hears a number of the clip in each clip, or nothing at all."""

    deaf: bool = False
    heard_s: list[float] = field(default_factory=list)
    n_closed: int = 0

    def __call__(self, pcm: Pcm) -> str:
        if self.deaf:
            raise TranscriptError("base.pt is missing")
        self.heard_s.append(len(pcm) / SAMPLE_RATE)
        return f"Words, heard {len(self.heard_s)} times."

    def close(self) -> None:
        self.n_closed += 1


@dataclass
class Desk:
    """A references folder, its cache, and what the library says."""

    home: Path
    listener: Listener = field(default_factory=Listener)
    lines: list[str] = field(default_factory=list)
    codec: LevelCodec = field(default_factory=LevelCodec)

    @property
    def folder(self) -> Path:
        folder = self.home / "references"
        folder.mkdir(exist_ok=True)
        return folder

    def start(
        self,
        names: Mapping[int, str] | None = None,
        max_reference_s: float = 15.0,
    ) -> VoiceLibrary:
        self.lines.clear()
        self.codec.n_encoded = 0
        return VoiceLibrary(
            self.folder,
            self.codec,
            self.home / "cache",
            self.listener,
            lines_to(self.lines.append),
            names or {},
            max_reference_s,
        )

    def speakers(self) -> list[int]:
        return [voice.speaker for voice in self.start().load()]

    def about(self, name: str) -> list[str]:
        return [line for line in self.lines if name in line]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def codes_of(library: VoiceLibrary) -> list[Codes]:
    return [voice.segments[0].codes for voice in library.load()]


# who is who


@pytest.mark.parametrize(
    ("files", "speakers"),
    [
        (["reference.wav"], {0: "reference.wav"}),
        (["reference12.wav", "reference2.wav"], {2: "reference2.wav", 12: "reference12.wav"}),
        (["reference2-cleo.wav"], {2: "reference2-cleo.wav"}),
        (["Reference-2_Cleo.WAV"], {2: "Reference-2_Cleo.WAV"}),
        (["reference-2nd.wav"], {0: "reference-2nd.wav"}),
        (["reference-ana.ogg", "reference.wav"], {0: "reference.wav", 1: "reference-ana.ogg"}),
        (
            ["reference-ben.wav", "reference-ana.wav", "reference1.wav"],
            {0: "reference-ana.wav", 1: "reference1.wav", 2: "reference-ben.wav"},
        ),
        (["README.md", "notes.txt", "reference.txt", ".reference.wav"], {}),
    ],
)
def test_names_tell_speakers(tmp_path: Path, files: list[str], speakers: Mapping[int, str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    claims, refused = SpeakerIds().assign(list_sources(tmp_path)[0])
    assert {speaker: source.path.name for speaker, source in claims.items()} == speakers
    assert not refused


def test_natural_order_puts_two_before_ten() -> None:
    names = ["reference10.wav", "reference01.wav", "reference2.wav", "reference1.wav"]
    ordered = ["reference1.wav", "reference01.wav", "reference2.wav", "reference10.wav"]
    assert sorted(names, key=natural_key) == ordered


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("reference1.flac", "reference1.wav"),
        ("reference1.wav", "reference01.wav"),
        ("reference-ana.flac", "reference-Ana.wav"),
    ],
)
def test_of_two_files_for_one_speaker_the_first_is_taken(
    desk: Desk, first: str, second: str
) -> None:
    save(desk.folder / first, speech(4))
    save(desk.folder / second, speech(4))
    library = desk.start()
    assert len(library.load()) == 1
    library.load()
    (line,) = desk.about(second)
    assert line.startswith(f"! {second}") and f"already {first}. Skipped." in line


@pytest.mark.parametrize("name", ["references.wav", "reference-.wav", "ana.wav", "reference.m4a"])
def test_a_name_that_tells_no_speaker_is_said_once(desk: Desk, name: str) -> None:
    (desk.folder / name).touch()
    library = desk.start()
    library.load()
    library.load()
    assert len(desk.about(name)) == 1


def test_a_name_without_number_keeps_its_speaker_while_others_come_and_go(desk: Desk) -> None:
    save(desk.folder / "reference.wav", speech(4))
    save(desk.folder / "reference-ben.wav", speech(4))
    library = desk.start()
    library.load()
    (desk.folder / "reference.wav").unlink()
    save(desk.folder / "reference-ana.wav", speech(4))
    voices = {voice.name: voice.speaker for voice in library.load()}
    assert voices == {"ben": 1, "ana": 2}  # 0 was somebody in this conversation
    assert {voice.name: voice.speaker for voice in desk.start().load()} == {"ana": 0, "ben": 1}


def test_a_number_taken_while_running_is_free_at_the_next_start(desk: Desk) -> None:
    save(desk.folder / "reference-ana.wav", speech(4))
    library = desk.start()
    library.load()
    save(desk.folder / "reference.wav", speech(4))
    assert [voice.name for voice in library.load()] == ["ana"]
    (line,) = desk.about("reference.wav")
    assert 'speaker 0 is "ana" until the next start' in line
    assert [voice.name for voice in desk.start().load()] == ["reference", "ana"]


def test_only_the_clips_that_are_needed_are_read_and_those_that_were_are_kept(desk: Desk) -> None:
    for number in (1, 2, 3):
        save(desk.folder / f"reference{number}.wav", speech(4 + number))
    (desk.folder / "reference4.wav").write_bytes(b"no sound")
    library = desk.start()
    assert [voice.speaker for voice in library.load({2})] == [2]
    assert desk.codec.n_encoded == 1 and len(desk.lines) == 1
    assert [voice.speaker for voice in library.load({1})] == [1, 2]
    assert desk.codec.n_encoded == 2 and not desk.about("has no voice now")
    assert desk.about("reference3") == desk.about("reference4") == []
    assert [voice.speaker for voice in library.load()] == [1, 2, 3]


def test_it_is_known_why_a_clip_was_refused_until_it_is_mended(desk: Desk) -> None:
    clip = save(desk.folder / "reference10.wav", speech(0.2))
    library = desk.start()
    library.load()
    assert library.refused(10).startswith("reference10.wav was refused: ")
    assert "\n" not in library.refused(10) and library.refused(0) == ""
    save(clip, speech(4))
    library.load()
    assert library.refused(10) == ""


def test_names_from_the_settings_win(desk: Desk) -> None:
    save(desk.folder / "reference-ana.wav", speech(4))
    save(desk.folder / "reference3-Cleo.wav", speech(4))
    assert [voice.name for voice in desk.start({0: "Ana"}).load()] == ["Ana", "Cleo"]


# what is kept


def test_a_clip_becomes_codes_and_its_transcript(desk: Desk) -> None:
    pcm = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), speech(4)])
    save(desk.folder / "reference.wav", pcm, text="\ufeffSo the thing\r\nabout the sea.\n\n")
    (voice,) = desk.start().load()
    (segment,) = voice.segments
    assert (segment.speaker, segment.text) == (0, "So the thing about the sea.")
    assert segment.codes.dtype == np.int32
    assert 4.0 <= len(segment.codes) * 0.08 <= 4.6  # speech and tail, no leading second
    (line,) = desk.lines
    assert line == "+ reference.wav   4.0 s kept of 5.0 (silence trimmed) -> speaker 0 (reference)"


@pytest.mark.parametrize("level", [0.02, 0.3, 0.9])
def test_clips_come_to_one_level(tmp_path: Path, level: float) -> None:
    pcm = excerpt(save(tmp_path / "clip.wav", speech(4, level)), 15).pcm[: -len(TAIL)]
    assert 20 * np.log10(np.sqrt(np.square(pcm).mean())) == pytest.approx(-20, abs=0.1)


def test_a_clip_of_peaks_stays_below_full_scale(tmp_path: Path) -> None:
    pcm = speech(4, 0.01)
    pcm[SAMPLE_RATE * 2 - 100] = 0.9
    assert np.abs(excerpt(save(tmp_path / "clip.wav", pcm), 15).pcm).max() <= PEAK + 1e-6


def test_a_clip_ends_in_silence(tmp_path: Path) -> None:
    pcm = excerpt(save(tmp_path / "clip.wav", speech(4.2)), 15).pcm
    assert not pcm[-3 * FRAME_SAMPLES :].any()


def test_a_long_clip_is_cut_in_a_pause(tmp_path: Path) -> None:
    kept = excerpt(save(tmp_path / "clip.wav", speech(40)), 15)
    cut = round(kept.note.kept_s * SAMPLE_RATE)
    assert 9 < kept.note.kept_s <= 15
    assert kept.note.speech_s == pytest.approx(40, abs=0.2)
    assert np.abs(kept.pcm[cut - 400 : cut]).max() < 0.01
    assert kept.note.cut


# the cache


def test_the_second_start_encodes_and_says_nothing(desk: Desk) -> None:
    save(desk.folder / "reference.wav", speech(4))
    save(desk.folder / "reference2.wav", speech(30, rate=44_100), 44_100)
    first = codes_of(desk.start())
    assert desk.codec.n_encoded == 2
    second = codes_of(desk.start())
    assert desk.codec.n_encoded == 0
    assert desk.lines == []
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_another_codec_has_codes_of_its_own(desk: Desk) -> None:
    save(desk.folder / "reference.wav", speech(4))
    desk.start().load()
    desk.codec.identity = "another"
    desk.start().load()
    assert desk.codec.n_encoded == 1


def test_renamed_clips_are_not_encoded_again(desk: Desk) -> None:
    clip = save(desk.folder / "reference.wav", speech(4))
    desk.start().load()
    clip.rename(desk.folder / "reference7.wav")
    assert desk.speakers() == [7]
    assert desk.codec.n_encoded == 0


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not much", b"\x93NUMPY\x01\x00"])
def test_a_damaged_cache_file_is_made_anew(desk: Desk, damage: bytes) -> None:
    save(desk.folder / "reference.wav", speech(4))
    first = codes_of(desk.start())
    (file,) = (desk.home / "cache").iterdir()
    file.write_bytes(damage)
    assert np.array_equal(codes_of(desk.start())[0], first[0])
    assert desk.codec.n_encoded == 1
    assert len(desk.about("damaged: made anew")) == 1
    desk.start().load()
    assert desk.codec.n_encoded == 0


GOOD_NOTE = {"speech_s": 4.0, "kept_s": 4.0, "done": [], "warnings": []}


@pytest.mark.parametrize(
    ("codes", "note"),
    [
        (np.full((40, 4), 101), GOOD_NOTE),
        (np.full((40, 4), -1), GOOD_NOTE),
        (np.full((40, 4), np.nan), GOOD_NOTE),
        (np.ones((1_000_000, 4), np.int16), GOOD_NOTE),
        (np.ones((0, 4), int), GOOD_NOTE),
        (np.ones((40, 5), int), GOOD_NOTE),
        (np.ones((40, 4), int), GOOD_NOTE | {"kept_s": float("nan")}),
        (np.ones((40, 4), int), GOOD_NOTE | {"kept_s": "long"}),
        (np.ones((40, 4), int), {"a": 1}),
    ],
    ids=str,
)
def test_codes_that_no_clip_has_are_thrown_away(
    desk: Desk, codes: np.ndarray, note: dict[str, object]
) -> None:
    save(desk.folder / "reference.wav", speech(4))
    first = codes_of(desk.start())
    (file,) = (desk.home / "cache").iterdir()
    np.savez_compressed(file, codes=codes, note=np.array(json.dumps(note)))
    assert np.array_equal(codes_of(desk.start())[0], first[0])
    assert len(desk.about("damaged: made anew")) == 1


def test_a_pipe_in_the_cache_is_made_anew_and_does_not_hang(desk: Desk) -> None:
    save(desk.folder / "reference.wav", speech(4))
    first = codes_of(desk.start())
    (file,) = (desk.home / "cache").iterdir()
    file.unlink()
    os.mkfifo(file)
    assert np.array_equal(codes_of(desk.start())[0], first[0])


def test_a_transcript_that_is_a_pipe_or_endless_is_refused(desk: Desk) -> None:
    for number, make in enumerate([os.mkfifo, lambda path: path.symlink_to("/dev/zero")]):
        clip = save(desk.folder / f"reference{number}.wav", speech(4), text=None)
        make(clip.with_suffix(".txt"))
    large = save(desk.folder / "reference2.wav", speech(4), text=None)
    large.with_suffix(".txt").write_bytes(b"word " * 300_000)
    assert desk.speakers() == []
    assert len(desk.about("is not a regular file")) == 2
    assert len(desk.about("is larger than 1 MB")) == 1


def test_hours_of_silence_in_a_small_file_take_little_memory(desk: Desk) -> None:
    path = desk.folder / "reference.flac"
    with soundfile.SoundFile(path, "w", 48_000, 2, format="FLAC") as file:
        for _ in range(60):
            file.write(np.zeros((48_000 * 60, 2), np.int16))
    tracemalloc.start()
    with pytest.raises(VoiceError, match="silent for its first 300 s"):
        excerpt(path, 15)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


def test_a_clip_beside_the_middle_is_trimmed_as_others_are(desk: Desk) -> None:
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    pcm = np.concatenate([quiet, speech(4), quiet])
    centred = excerpt(save(desk.folder / "a.wav", pcm), 15)
    beside = excerpt(save(desk.folder / "b.wav", pcm + np.float32(0.1)), 15)
    assert beside.note.kept_s == pytest.approx(centred.note.kept_s, abs=0.05)
    assert abs(float(beside.pcm.mean())) < 1e-3
    assert any("DC offset" in line for line in beside.note.warnings)


@pytest.mark.parametrize("name", ["reference6.opus", "reference6.oga", "REFERENCE6.WAV"])
def test_clips_are_taken_by_what_they_are(desk: Desk, name: str) -> None:
    form = {".opus": ("OGG", "OPUS"), ".oga": ("OGG", "VORBIS")}.get(Path(name).suffix)
    form = form or ("WAV", "PCM_16")
    soundfile.write(desk.folder / name, speech(4), 24_000, format=form[0], subtype=form[1])
    (desk.folder / Path(name).with_suffix(".TXT")).write_text("Hello there.")
    (voice,) = desk.start().load()
    assert (voice.speaker, voice.segments[0].text) == (6, "Hello there.")


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_clip_whose_header_says_too_little_is_used_whole_and_that_is_said(
    desk: Desk, share: float
) -> None:
    told_short(save(desk.folder / "reference.wav", speech(4)), share)
    assert desk.speakers() == [0]
    assert len(desk.about("read to its end")) == 1
    whole = excerpt(save(desk.folder / "other.wav", speech(4)), 15)
    assert excerpt(desk.folder / "reference.wav", 15).note.kept_s == whole.note.kept_s


def test_a_cache_that_cannot_be_written_is_said_once(desk: Desk) -> None:
    (desk.home / "cache").write_text("a file where the folder should be")
    save(desk.folder / "reference.wav", speech(4))
    save(desk.folder / "reference1.wav", speech(5))
    assert desk.speakers() == [0, 1]
    assert len(desk.about("cannot be written")) == 1


# transcripts


def test_a_missing_transcript_is_written_once(desk: Desk) -> None:
    clip = save(desk.folder / "reference.wav", speech(4), text=None)
    assert desk.start().load()[0].segments[0].text == "Words, heard 1 times."
    assert clip.with_suffix(".txt").read_text() == "Words, heard 1 times.\n"
    assert any("saved" in line and "please check it" in line for line in desk.lines)
    desk.start().load()
    assert len(desk.listener.heard_s) == 1


@pytest.mark.parametrize("content", ["", " \n\r\n"])
def test_an_empty_transcript_counts_as_missing(desk: Desk, content: str) -> None:
    clip = save(desk.folder / "reference.wav", speech(4), text=content)
    desk.start().load()
    assert clip.with_suffix(".txt").read_text() == "Words, heard 1 times.\n"
    assert desk.about("is empty")


def test_a_clip_without_words_is_skipped_and_told_what_to_write(desk: Desk) -> None:
    desk.listener.deaf = True
    save(desk.folder / "reference.wav", speech(4), text=None)
    save(desk.folder / "reference1.wav", speech(4))
    assert desk.speakers() == [1]
    (line,) = desk.about("! reference.wav")
    assert "base.pt is missing" in line
    assert str(desk.folder / "reference.txt") in line
    assert not (desk.folder / "reference.txt").exists()


@pytest.mark.parametrize(
    ("data", "text", "remarked"),
    [
        ("Café?".encode(), "Café?", False),
        ("Café?".encode("utf-8-sig"), "Café?", False),
        ("Café?".encode("utf-16"), "Café?", False),
        ("Café?".encode("cp1252"), "Café?", True),
    ],
)
def test_transcripts_of_windows_editors_are_read(
    tmp_path: Path, data: bytes, text: str, remarked: bool
) -> None:
    path = tmp_path / "reference.txt"
    path.write_bytes(data)
    transcript = read_transcript(path)
    assert transcript is not None
    assert transcript.text == text
    assert (transcript.remark is not None) == remarked


def test_a_transcript_that_is_not_text_skips_its_clip(desk: Desk) -> None:
    clip = save(desk.folder / "reference.wav", speech(4))
    clip.with_suffix(".txt").write_bytes(bytes(range(256)))
    assert desk.speakers() == []
    assert len(desk.about("is not a text file")) == 1


def test_a_transcript_that_cannot_be_saved_is_used(desk: Desk) -> None:
    save(desk.folder / "reference.wav", speech(4), text=None)
    desk.folder.chmod(0o555)
    if os.access(desk.folder, os.W_OK):
        pytest.skip("root writes anywhere")
    assert desk.speakers() == [0]
    assert len(desk.about("cannot be saved")) == 1


def test_the_transcript_of_a_cut_clip_says_what_it_covers(desk: Desk) -> None:
    clip = save(desk.folder / "reference.wav", speech(20), text=None)
    desk.start().load()
    beside = clip.with_suffix(".txt")
    note, text = beside.read_text().splitlines()
    assert note.startswith("# the first 1") and note.endswith(" s of reference.wav")
    assert text == "Words, heard 1 times."
    beside.write_text(f"{note}\nWords, put right.\n")
    assert desk.start().load()[0].segments[0].text == "Words, put right."
    assert len(desk.listener.heard_s) == 1


def test_the_transcript_of_the_whole_is_left_alone_when_the_clip_is_cut(desk: Desk) -> None:
    clip = save(desk.folder / "reference.wav", speech(20), text="All twenty seconds of it.")
    assert desk.start().load()[0].segments[0].text == "Words, heard 1 times."
    assert clip.with_suffix(".txt").read_text() == "All twenty seconds of it."
    assert desk.start().load()[0].segments[0].text == "Words, heard 1 times."
    assert len(desk.listener.heard_s) == 1
    assert desk.listener.heard_s[0] < 15.5


def test_a_clip_is_used_whole_when_its_transcript_cannot_be_cut(desk: Desk) -> None:
    desk.listener.deaf = True
    save(desk.folder / "reference.wav", speech(20), text="All twenty seconds of it.")
    save(desk.folder / "reference1.wav", speech(40), text="All forty seconds of it.")
    (voice,) = desk.start().load()
    assert voice.segments[0].text == "All twenty seconds of it."
    assert len(voice.segments[0].codes) * 0.08 > 20
    (line,) = desk.about("! reference1.wav")
    assert "shorten the clip" in line
    (line,) = desk.about("~ reference.wav")
    assert "used whole (base.pt is missing)" in line


def test_a_long_clip_without_words_is_told_how_much_to_write(desk: Desk) -> None:
    desk.listener.deaf = True
    clip = save(desk.folder / "reference.wav", speech(40), text=None)
    desk.start().load()
    (line,) = desk.about("! reference.wav")
    note = line.split('"')[1]
    assert note.startswith("# the first 1")
    clip.with_suffix(".txt").write_text(f"{note}\nMy own words.")
    assert desk.start().load()[0].segments[0].text == "My own words."


# bad references


def _empty(path: Path) -> None:
    path.touch()


def _text(path: Path) -> None:
    path.write_text("This is no recording. " * 50)


def _truncated_header(path: Path) -> None:
    whole = save(path, speech(4)).read_bytes()
    path.write_bytes(whole[:30])


def _no_samples(path: Path) -> None:
    save(path, np.zeros(0, np.float32))


def _silence(path: Path) -> None:
    save(path, np.zeros(5 * SAMPLE_RATE, np.float32))


def _hiss(path: Path) -> None:
    save(path, np.random.default_rng(0).normal(0, 1e-4, 5 * SAMPLE_RATE).astype(np.float32))


def _too_short(path: Path) -> None:
    save(path, speech(0.3))


def _nan(path: Path) -> None:
    pcm = speech(4)
    pcm[5000] = np.nan
    soundfile.write(path, pcm, SAMPLE_RATE, subtype="FLOAT")


def _folder(path: Path) -> None:
    path.mkdir()


def _broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "gone.wav")


def _square(path: Path) -> None:
    save(path, np.sign(speech(5)))


def _stereo(path: Path) -> None:
    save(path, np.stack([speech(5, rate=44_100)] * 2, axis=1), 44_100)


def _short(path: Path) -> None:
    save(path, speech(2))


def _faint(path: Path) -> None:
    save(path, speech(5, 0.01))


def _five_minutes(path: Path) -> None:
    save(path, np.tile(speech(4), 75), text=None)


SKIPPED = [
    (_empty, "not readable as audio"),
    (_text, "not readable as audio"),
    (_truncated_header, "not readable as audio"),
    (_no_samples, "no samples"),
    (_silence, "is silent"),
    (_hiss, "is silent"),
    (_too_short, "0.3 s of speech"),
    (_nan, "not numbers"),
    (_folder, "is not a file"),
    (_broken_link, "a link to nothing"),
]
USED = [
    (_square, "~ reference3.wav", "clipped"),
    (_stereo, "+ reference3.wav", "stereo 44.1 kHz -> mono 24 kHz, 5.0 s"),
    (_short, "~ reference3.wav", "short"),
    (_faint, "~ reference3.wav", "very quiet"),
    (_five_minutes, "+ reference3.wav", "300.0 s of speech, the first 1"),
]


@pytest.mark.parametrize(("make", "reason"), SKIPPED)
def test_a_bad_clip_is_skipped_in_one_line_and_disturbs_nobody(
    desk: Desk, make: Callable[[Path], None], reason: str
) -> None:
    save(desk.folder / "reference.wav", speech(4))
    make(desk.folder / "reference3.wav")
    save(desk.folder / "reference-zoe.wav", speech(4))
    assert desk.speakers() == [0, 1]
    (line,) = desk.about("reference3.wav")
    assert line.startswith("! reference3.wav   ") and line.endswith(". Skipped.")
    assert reason in line
    assert str(desk.folder) not in line


@pytest.mark.parametrize(("make", "start", "remark"), USED)
def test_a_doubtful_clip_is_used_in_one_line_that_says_so(
    desk: Desk, make: Callable[[Path], None], start: str, remark: str
) -> None:
    make(desk.folder / "reference3.wav")
    assert desk.speakers() == [3]
    (line,) = [line for line in desk.lines if line.endswith("-> speaker 3 (reference3)")]
    assert line.startswith(start)
    assert remark in line


def test_a_warning_is_repeated_at_the_next_start(desk: Desk) -> None:
    _square(desk.folder / "reference3.wav")
    desk.start().load()
    desk.start().load()
    assert desk.codec.n_encoded == 0
    assert len(desk.about("clipped")) == 1


def test_too_little_speech_is_a_voice_error(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="a voice needs 3 s or more"):
        excerpt(save(tmp_path / "clip.wav", speech(0.5)), 15)


# while running


def test_a_folder_without_clips_is_said_once(desk: Desk) -> None:
    library = desk.start()
    assert library.load() == ()
    assert library.load() == ()
    assert len(desk.lines) == 1
    desk.folder.rmdir()
    library.load()
    library.load()
    assert len(desk.lines) == 2


def test_reload_tells_what_came_changed_and_went(desk: Desk) -> None:
    save(desk.folder / "reference.wav", speech(4))
    save(desk.folder / "reference1.wav", speech(4))
    library = desk.start()
    kept = library.load()[0]
    desk.lines.clear()
    (desk.folder / "reference1.wav").unlink()
    clip = save(desk.folder / "reference2-Cleo.wav", speech(5))
    voices = library.load()
    assert voices[0] is kept
    assert desk.lines == [
        "- reference1.wav -> speaker 1 has no voice now",
        "+ reference2-Cleo.wav   5.0 s -> speaker 2 (Cleo)",
    ]
    desk.lines.clear()
    clip.with_suffix(".txt").write_text("Other words.")
    assert library.load()[1].segments[0].text == "Other words."
    assert desk.lines == ["~ reference2-Cleo.wav   changed, 5.0 s -> speaker 2 (Cleo)"]


def test_nothing_is_said_when_nothing_changed(desk: Desk) -> None:
    save(desk.folder / "reference.wav", speech(4))
    library = desk.start()
    library.load()
    desk.lines.clear()
    library.load()
    assert desk.lines == []


def test_a_repaired_clip_comes_in(desk: Desk) -> None:
    _empty(desk.folder / "reference3.wav")
    library = desk.start()
    assert library.load() == ()
    save(desk.folder / "reference3.wav", speech(4))
    assert [voice.speaker for voice in library.load()] == [3]


def test_a_change_counts_once_it_has_settled(desk: Desk) -> None:
    library = desk.start()
    library.load()
    assert not library.changed()
    for seconds in (1, 2, 3):  # a copy that grows
        save(desk.folder / "reference.wav", speech(seconds))
        assert not library.changed()
    assert library.changed()
    library.load()
    assert not library.changed()
    assert not library.changed()


@pytest.mark.parametrize(
    ("name", "is_change"), [("ana.wav", True), ("README.md", False), (".reference.wav.swp", False)]
)
def test_a_recording_by_any_name_is_a_change(desk: Desk, name: str, is_change: bool) -> None:
    library = desk.start()
    library.load()
    (desk.folder / name).touch()
    library.changed()
    assert library.changed() == is_change


def test_a_transcript_of_its_own_making_is_no_change(desk: Desk) -> None:
    save(desk.folder / "reference.wav", speech(4), text=None)
    library = desk.start()
    library.load()
    assert not library.changed()
    assert not library.changed()


def test_an_edited_transcript_and_a_removed_clip_are_changes(desk: Desk) -> None:
    clip = save(desk.folder / "reference.wav", speech(4))
    library = desk.start()
    library.load()
    clip.with_suffix(".txt").write_text("Something longer than before.")
    library.changed()
    assert library.changed()
    library.load()
    clip.unlink()
    library.changed()
    assert library.changed()
