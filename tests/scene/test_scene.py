"""Scenes: where turns are to the sample, how loud, what subtitles, summary and picture say."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pysubs2
import pytest
import soundfile
import srt
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.audio.clips import read_clip
from csm_chat.audio.files import to_16_bit
from csm_chat.errors import TakeError
from csm_chat.scene import subtitles, timeline
from csm_chat.scene.export import Options, SceneTurn, write_scene
from csm_chat.scene.mix import PEAK, Piece, Scene, integrated_lufs, lay_out, mixed, share
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Pcm

NAMES = {0: "Ana", 1: "Ben", 2: "Cleo & <co>"}
LONG = (
    "This is the first sentence of a rather long turn. It goes on for a while, it does! "
    "Who would read all of this at once, on a small screen, in a noisy room?"
)


def noise(seconds: float, level: float, seed: int = 0) -> Pcm:
    """Something that is loud for a while and soft for a while, as speech is."""
    n = round(seconds * SAMPLE_RATE)
    swell = np.abs(np.sin(np.arange(n) * (2 * np.pi * 1.7 / SAMPLE_RATE)))
    return (level * swell * np.random.default_rng(seed).uniform(-1, 1, n)).astype(np.float32)


def piece(speaker: int, pcm: Pcm, text: str = "Hi.", pause_s: float | None = None) -> Piece:
    return Piece(speaker, NAMES[speaker], text, len(pcm), lambda: pcm, pause_s)


def dialogue() -> list[Piece]:
    return [
        piece(0, noise(2.0, 0.05, 1), "Hi there!"),
        piece(1, noise(3.0, 0.8, 2), LONG),
        piece(0, noise(1.0, 0.04, 3), "Yes.", pause_s=0.8),
        piece(2, noise(0.3, 0.3, 4), "Oh --> no, <b> & so on.", pause_s=0.0),
    ]


def scene(pieces: list[Piece] | None = None, match: bool = True) -> Scene:
    return lay_out(dialogue() if pieces is None else pieces, 0.35, 0.5, match)


# where


def test_turns_are_a_gap_apart_or_as_far_as_the_pause_says() -> None:
    placed = scene().placed
    assert [each.start for each in placed] == [
        *(0, round(2.35 * SAMPLE_RATE)),
        *(round((5.35 + 0.8) * SAMPLE_RATE), round(7.15 * SAMPLE_RATE)),
    ]
    assert scene().n_samples == round(7.95 * SAMPLE_RATE)
    assert lay_out([piece(0, noise(1, 0.1), pause_s=2.0)], 0.35, 0, True).placed[0].start == 48_000


def test_unmatched_a_mix_is_the_turns_and_silence() -> None:
    quiet = scene(match=False)
    mix = mixed(quiet)
    rest = np.ones(len(mix), bool)
    for each in quiet.placed:
        assert np.array_equal(mix[each.start : each.end], each.piece.pcm())
        rest[each.start : each.end] = False
    assert not mix[rest].any()


# how loud


def test_speakers_come_to_one_loudness_and_do_not_clip() -> None:
    heard = scene()
    loudness = {}
    for speaker in (0, 1):
        said = [
            e.piece.pcm() * heard.gains[speaker] for e in heard.placed if e.piece.speaker == speaker
        ]
        loudness[speaker] = integrated_lufs(np.concatenate(said))
    assert loudness[0] == pytest.approx(loudness[1], abs=0.1)
    assert np.abs(mixed(heard)).max() <= PEAK + 1e-6


def test_loudness_is_that_of_the_standard() -> None:
    # EBU Tech 3341, case 1, on one channel: 1 kHz at -23 dBFS in both channels is -23 LUFS
    n = np.arange(20 * SAMPLE_RATE)
    tone = (10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * n / SAMPLE_RATE)).astype(np.float32)
    assert integrated_lufs(tone) == pytest.approx(-23 - 10 * np.log10(2), abs=0.15)


def test_silence_stays_silent_and_a_whisper_is_not_blown_up() -> None:
    silent, soft = np.zeros(SAMPLE_RATE, np.float32), noise(2.0, 0.0005)
    gains = scene([piece(0, silent), piece(1, soft), piece(2, noise(2.0, 0.3))]).gains
    assert gains[0] == 1.0
    assert gains[1] == pytest.approx(10)


def test_one_loud_click_does_not_make_everybody_soft() -> None:
    clicks = noise(2.0, 0.002)
    clicks[1000] = 1.0
    heard = scene([piece(0, clicks), piece(1, noise(2.0, 0.4))])
    assert integrated_lufs(noise(2.0, 0.4) * np.float32(heard.gains[1])) == pytest.approx(
        -30, abs=0.1
    )
    assert heard.gains[0] <= PEAK


LEVELS = st.sampled_from([0.0, 1e-5, 0.001, 0.2, 1.0])


@given(st.lists(st.tuples(st.integers(0, 2), LEVELS, st.sampled_from([0, 100, 9_600, 20_000]))))
def test_no_scene_clips(asked: list[tuple[int, float, int]]) -> None:
    pieces = [piece(speaker, noise(n / SAMPLE_RATE, level)) for speaker, level, n in asked]
    assert np.abs(mixed(scene(pieces))).max(initial=0) <= 1.0


# as files


def turns(pieces: list[Piece]) -> list[SceneTurn]:
    return [SceneTurn(piece, seed, "eos", line=seed) for seed, piece in enumerate(pieces, 1)]


def samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16")[0].astype(np.int32)


def test_stems_are_as_long_as_the_mix_and_add_up_to_it(tmp_path: Path) -> None:
    _, mix = write_scene(tmp_path, turns(dialogue()), Options(), {})
    stems = [samples(path) for path in sorted((tmp_path / "stems").iterdir())]
    assert [path.name for path in sorted((tmp_path / "stems").iterdir())] == [
        *("ana.wav", "ben.wav", "cleo-co.wav"),
    ]
    assert {len(stem) for stem in stems} == {len(samples(mix))}
    assert np.abs(sum(stems) - samples(mix)).max() <= 1


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg"])
def test_each_format_holds_the_scene(name: str, tmp_path: Path) -> None:
    heard, mix = write_scene(tmp_path, turns(dialogue()), Options(format=name), {})
    assert mix == tmp_path / f"mix.{name}"
    pcm = read_clip(mix).pcm
    assert abs(len(pcm) - heard.n_samples) <= (2400 if name == "mp3" else 0)
    assert sorted(path.suffix for path in (tmp_path / "stems").iterdir()) == [f".{name}"] * 3


def test_every_saved_sound_is_marked_once(tmp_path: Path) -> None:
    marked: list[int] = []

    def mark(pcm: Pcm) -> Pcm:
        marked.append(len(pcm))
        return np.full_like(pcm, 0.25)

    heard, mix = write_scene(tmp_path, turns(dialogue()), Options(), {}, mark)
    assert sorted(marked) == sorted(
        [heard.n_samples, *(each.end - each.start for each in heard.placed)]
    )
    for path in (tmp_path / "turns").glob("*.wav"):
        assert set(samples(path)) == {8192}
    stems = [samples(path) for path in (tmp_path / "stems").iterdir()]
    assert np.array_equal(sum(stems), samples(mix)) and set(samples(mix)) == {0, 8192}


def test_the_summary_tells_each_turn_to_the_sample(tmp_path: Path) -> None:
    heard, mix = write_scene(tmp_path, turns(dialogue()), Options(), {"model": "m"})
    told = json.loads((tmp_path / "scene.json").read_text("utf-8"))
    assert told["model"] == "m" and told["n_samples"] == len(samples(mix))
    mix_pcm = samples(mix)
    for turn, each in zip(told["turns"], heard.placed, strict=True):
        assert (turn["start"], turn["end"]) == (each.start, each.end)
        assert turn["start_s"] * SAMPLE_RATE == pytest.approx(each.start)
        gain = told["speakers"][turn["speaker"]]["gain"]
        own = samples(tmp_path / turn["file"]) * gain
        # the turn's own file is rounded, too
        assert np.abs(mix_pcm[each.start : each.end] - own).max() <= 1 + gain
    assert all((tmp_path / name).is_file() for name in told["files"])


def test_a_smaller_scene_takes_away_only_what_a_scene_wrote(tmp_path: Path) -> None:
    write_scene(tmp_path, turns(dialogue()), Options(), {})
    (tmp_path / "turns" / "009-mine.wav").write_bytes(b"mine")
    told = json.loads((tmp_path / "scene.json").read_text("utf-8"))
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_bytes(b"x")
    told["files"] += [f"../{outside.name}", str(outside)]
    (tmp_path / "scene.json").write_text(json.dumps(told), "utf-8")
    write_scene(tmp_path, turns(dialogue()[:2]), Options(format="flac"), {})
    assert outside.exists()
    assert sorted(
        p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()
    ) == [
        *("labels.txt", "mix.flac", "scene.json", "scene.srt", "scene.svg", "scene.vtt"),
        *("stems/ana.flac", "stems/ben.flac"),
        *("turns/001-ana.wav", "turns/002-ben.wav", "turns/009-mine.wav", "turns/render.json"),
    ]


def test_speakers_of_one_name_have_stems_of_their_own(tmp_path: Path) -> None:
    pcm = noise(0.5, 0.1)
    two = [Piece(n, name, "Hi.", len(pcm), lambda: pcm) for n, name in ((3, "Ana"), (5, "ana"))]
    write_scene(tmp_path, turns(two), Options(), {})
    assert sorted(p.name for p in (tmp_path / "stems").iterdir()) == ["ana-3.wav", "ana-5.wav"]


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "stems").write_text("in the way")
    with pytest.raises(TakeError, match=r"stems.*cannot be saved") as refused:
        write_scene(tmp_path, turns(dialogue()), Options(), {})
    assert "\n" not in str(refused.value)


# in words


def test_subtitles_are_read_back_with_names_and_times() -> None:
    heard = scene()
    subrip = pysubs2.SSAFile.from_string(subtitles.srt(heard), format_="srt")
    vtt = pysubs2.SSAFile.from_string(subtitles.vtt(heard), format_="vtt")
    assert [(e.start, e.end) for e in subrip] == [(e.start, e.end) for e in vtt]
    starts = {event.start for event in subrip}
    for each in heard.placed:
        assert round(each.start / 24) in starts
        assert round(each.end / 24) in {event.end for event in subrip}
    assert subrip[0].text == "Ana: Hi there!"
    said = " ".join(e.plaintext.replace("\n", " ").removeprefix("Ben: ") for e in subrip[1:-2])
    assert said == LONG


@pytest.mark.parametrize(
    "text",
    [
        "Look at this: 00:00:01,000 --> 00:00:02,000 is a line.",
        "A <b>bold</b> word, {\\an8} and <font color=red> more.",
        "7 00:00:01,000 --> 00:00:09,000",
        "1 < 2 and {this} too.",
    ],
)
def test_what_looks_like_a_mark_is_read_back_as_text(text: str) -> None:
    written = subtitles.srt(scene([piece(0, noise(3, 0.1), text), piece(1, noise(1, 0.1))]))
    shown = text.translate(str.maketrans("{}", "\uff5b\uff5d"))
    ours = pysubs2.SSAFile.from_string(written, format_="srt")
    theirs = list(srt.parse(written))
    for found in ([e.plaintext for e in ours], [cue.content for cue in theirs]):
        words = " ".join(found[:-1]).replace("\n", " ").replace("Ana: ", "")
        assert words.replace(subtitles.JOINER, "") == shown


def test_cues_are_short_and_cut_at_sentence_ends() -> None:
    found = [cue for cue in subtitles.cues(scene()) if cue.name == "Ben"]
    assert [cue.text[-1] for cue in found] == [".", "!", "?"]
    for block in subtitles.srt(scene()).strip().split("\n\n"):
        lines = block.split("\n")[2:]
        assert len(lines) <= 2 and all(len(line) <= 42 for line in lines)
    assert all(a.end_ms == b.start_ms for a, b in pairwise(found))


def test_webvtt_names_voices_and_escapes_what_it_would_read_as_a_mark() -> None:
    text = subtitles.vtt(scene())
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n<v Ana>Hi there!\n")
    assert "<v Cleo &amp; &lt;co&gt;>Oh --&gt; no, &lt;b&gt; &amp; so on." in text


def test_labels_are_seconds_and_names() -> None:
    first = subtitles.labels(scene()).splitlines()[0]
    assert first == "0.000000\t2.000000\tAna: Hi there!"


@given(st.text(max_size=300), st.text(min_size=1, max_size=60))
def test_any_text_makes_subtitles_and_a_picture(text: str, name: str) -> None:
    pcm = np.zeros(FRAME_SAMPLES, np.float32)
    heard = lay_out([Piece(0, name, text, len(pcm), lambda: pcm)], 0, 0, True)
    shown = list(subtitles.cues(heard))
    assert "".join("".join(cue.text for cue in shown).split()) == "".join(text.split())
    assert all(cue.start_ms <= cue.end_ms for cue in shown)
    ElementTree.fromstring(timeline.svg(heard, name))


# as a picture

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_has_a_lane_a_speaker_and_a_block_a_turn() -> None:
    root = ElementTree.fromstring(timeline.svg(scene(), "market"))
    assert len([r for r in root.iter(f"{SVG}rect") if r.get("class") == "lane"]) == 3
    groups = list(root.iter(f"{SVG}g"))
    assert len(groups) == 4
    titles = [group.findtext(f"{SVG}title") for group in groups]
    assert LONG in titles[1] and "Cleo & <co>" in titles[3]
    tops = [group.find(f"{SVG}rect").get("y") for group in groups]
    assert tops[0] == tops[2] and len(set(tops)) == 3


@pytest.mark.parametrize(("n_turns", "seconds"), [(1, 2.0), (60, 30.0)])
def test_the_picture_stays_in_bounds_however_long(n_turns: int, seconds: float) -> None:
    pcm = np.full(round(seconds * SAMPLE_RATE), 0.3, np.float32)
    heard = lay_out([piece(n % 3, pcm) for n in range(n_turns)], 0.35, 0, match=False)
    drawn = timeline.svg(heard, "market")
    root = ElementTree.fromstring(drawn)
    width = float(root.get("width"))
    assert 480 <= width <= timeline.MAX_WIDTH_PX and len(drawn) < 1_000_000
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) + float(rect.get("width")) <= width + 0.2


def test_below_zero_the_next_speaker_begins_over_the_end_and_stems_still_add_up() -> None:
    rng = np.random.default_rng(3)
    sounds = [rng.uniform(-0.45, 0.45, n).astype(np.float32) for n in (4000, 3000, 2000)]
    pieces = [
        Piece(who, str(who), "Hi.", len(pcm), lambda pcm=pcm: pcm)
        for who, pcm in zip((0, 1, 1), sounds, strict=True)
    ]
    scene = lay_out(pieces, -0.05, 0.0, match=False)
    assert [each.start for each in scene.placed] == [0, 2800, 5800], "nobody speaks over himself"
    mix = mixed(scene)
    expected = np.zeros(7800, np.float32)
    for each, pcm in zip(scene.placed, sounds, strict=True):
        expected[each.start : each.end] += pcm
    quiet = np.abs(expected) < 0.89
    np.testing.assert_allclose(mix[quiet], expected[quiet], atol=1e-6)
    assert np.abs(mix).max() <= 1
    stems = [to_16_bit(share(scene, mix, {who})).astype(int) for who in (0, 1)]
    assert np.abs(stems[0] + stems[1] - to_16_bit(mix)).max() == 0
    np.testing.assert_allclose(stems[1][2800:5800] / 32768, sounds[1], atol=1e-4)


def test_a_gain_of_a_piece_comes_over_that_of_its_loudness() -> None:
    pcm = np.full(3000, 0.25, np.float32)
    piece = Piece(0, "0", "Hi.", 3000, lambda: pcm, gain_db=-6.0)
    np.testing.assert_allclose(mixed(lay_out([piece], 0.0, 0.0, match=False)), 0.1253, atol=1e-3)
