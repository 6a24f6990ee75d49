"""Pace, level and silence: exact lengths, streams that equal the whole, samples left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_chat.shape.level import KNEE, limited, with_gain
from csm_chat.shape.line import with_gaps
from csm_chat.shape.overlap import Overlapping, joined, silence, starts
from csm_chat.shape.pauses import around, at_pauses, check_pauses
from csm_chat.shape.stream import Shaping, in_shape, shaped
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Pcm, Shape, Utterance

STEADY = settings(deadline=None, derandomize=True, max_examples=60)


def tone(n: int, hertz: float = 200.0) -> Pcm:
    return (np.sin(np.arange(n) * 2 * np.pi * hertz / SAMPLE_RATE) * 0.5).astype(np.float32)


def pitch(pcm: Pcm) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(pcm))


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.01, 1.25, 2.0])
@pytest.mark.parametrize("n", [0, 100, 3 * FRAME_SAMPLES, 50_001])
def test_a_stretched_take_is_as_long_as_its_speed_says(speed: float, n: int) -> None:
    assert len(shaped(tone(n), Shape(speed))) == round(n / speed)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_a_stretched_take_keeps_its_pitch(speed: float) -> None:
    heard = shaped(tone(2 * SAMPLE_RATE), Shape(speed))
    assert pitch(heard[2000:-4000]) == pytest.approx(200, abs=3)


def test_a_stretch_gives_out_sound_long_before_its_end() -> None:
    shaping = Shaping(Shape(0.8))
    given_out = [len(shaping.feed(tone(FRAME_SAMPLES))) for _ in range(25)]
    assert sum(given_out[:4]) > FRAME_SAMPLES
    assert sum(given_out) > 0.95 * 25 * FRAME_SAMPLES / 0.8


def test_chunks_of_any_size_are_stretched_alike() -> None:
    pcm = tone(20_000) * np.linspace(0.2, 1, 20_000, dtype=np.float32)
    blocks = [pcm[i : i + 777] for i in range(0, len(pcm), 777)]
    streamed = np.concatenate([*in_shape(blocks, Shape(1.25, 3.0))])
    np.testing.assert_array_equal(streamed, shaped(pcm, Shape(1.25, 3.0)))


def test_the_plain_shape_changes_no_sample_and_no_block() -> None:
    blocks = [tone(1000), tone(7) * 2]
    assert [*map(id, in_shape(blocks, Shape()))] == [*map(id, blocks)]


@given(st.floats(-40, 20))
@STEADY
def test_no_gain_leads_beyond_full_scale(gain_db: float) -> None:
    loud = tone(2000) * 2
    heard = with_gain(loud, gain_db)
    assert np.abs(heard).max() <= 1
    assert (np.sign(heard) == np.sign(loud)).all()
    if gain_db <= 0:
        np.testing.assert_allclose(heard, loud * 10 ** (gain_db / 20), rtol=1e-5)


def test_what_is_not_too_loud_is_not_bent() -> None:
    soft = tone(2000)
    assert limited(soft) is soft
    mixed = limited(soft * 2)
    np.testing.assert_array_equal(
        mixed[np.abs(soft * 2) <= KNEE], (soft * 2)[np.abs(soft * 2) <= KNEE]
    )


def test_parts_lie_where_their_gaps_put_them() -> None:
    assert starts([100, 50, 10], [0.0, 0.001, -0.002]) == [0, 124, 126]
    assert starts([100, 50], [0.0, -1.0]) == [0, 0], "not before the one in front begins"
    parts = [np.full(100, 0.5, np.float32), np.full(50, 0.25, np.float32)]
    pcm = joined(parts, [0.0, -40 / SAMPLE_RATE], 0.001)
    np.testing.assert_array_equal(pcm, [*[0.5] * 60, *[0.75] * 40, *[0.25] * 10, *[0.0] * 24])


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.floats(-0.1, 0.1)), min_size=1, max_size=5),
    st.integers(1, 900),
)
@STEADY
def test_a_stream_of_parts_is_joined_as_the_whole_of_them(
    given_parts: list[tuple[int, float]], chunk: int
) -> None:
    parts = [tone(n, 100 + 70 * i) for i, (n, _) in enumerate(given_parts)]
    gaps_s = [0.0, *(gap for _, gap in given_parts[1:])]
    line = Overlapping(0.1)
    out = []
    for part, gap_s in zip(parts, gaps_s, strict=True):
        out.append(line.apart(gap_s))
        out += [line.write(part[i : i + chunk]) for i in range(0, len(part), chunk)]
    out.append(line.end())
    np.testing.assert_allclose(np.concatenate(out), joined(parts, gaps_s), atol=1e-6)


def test_silence_is_counted_in_samples() -> None:
    assert len(silence(0.8)) == 19_200


def test_what_stands_around_a_text_is_found_whatever_form_it_has() -> None:
    found = around(' (pause 1) <break time="250ms"/> Hi (beat) you. (PAUSE .5 s) ')
    assert (found.before_s, found.after_s) == (1.25, 0.5)
    assert at_pauses("Hi (beat) you<break/>there") == (["Hi ", " you", "there"], [0.5, 0.75])
    assert at_pauses("(beat the eggs) <break strength='none'/>")[1] == []


@pytest.mark.parametrize("mark", ["(pause)", "(pause long)", "(pause 61)", '<break time="90s"/>'])
def test_a_pause_that_cannot_be_is_told_with_its_place(mark: str) -> None:
    with pytest.raises(Exception, match="is no pause") as caught:
        check_pauses(f"Hi {mark} you")
    assert caught.value.position == 3  # type: ignore[attr-defined]


def test_a_gap_lies_between_speakers_and_a_pause_takes_its_place() -> None:
    ana, ben = Utterance("Hi.", 0), Utterance("Hello.", 1)
    waits = Utterance("So.", 1, pause_s=2.0)
    again = Utterance("Bye.", 1, rest_s=1.0)
    gapped, rest_s = with_gaps([(u, [u]) for u in (ana, ben, waits, again)], -0.3)
    assert [gap for _, gap in gapped] == [0.0, -0.3, 2.0, 0.0]
    assert rest_s == 1.0


def test_the_pause_of_what_is_left_out_stays() -> None:
    laughs = Utterance("(laughs)", 0, pause_s=0.5)
    gapped, rest_s = with_gaps([(Utterance("Hi.", 0), [Utterance("Hi.", 0)]), (laughs, [])], 0.0)
    assert ([gap for _, gap in gapped], rest_s) == ([0.0], 0.5)
