from collections.abc import Iterable

import numpy as np
import pytest

from csm_chat.audio.play_buffer import (
    BLOCK_SAMPLES,
    CUSHION_S,
    FADE_SAMPLES,
    MODES,
    Gaps,
    PlayBuffer,
    prebuffer_s,
)
from csm_chat.audio.writer import Lead, Watchdog
from csm_chat.repl.wording import PROMPT
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Pcm
from csm_chat.wording import words

LATENCY_S = 0.2
TAIL_S = 0.3
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE


def sound(seconds: float, seed: int = 0) -> Pcm:
    """Noise without a zero, so that silence put in between can be told apart."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * SAMPLE_RATE)
    signs = rng.choice([-1.0, 1.0], n_samples)
    return (rng.uniform(0.1, 0.9, n_samples) * signs).astype(np.float32)


def delivered(
    pcm: Pcm, rtf: float, jitter: float = 0.0, start: float = 0.0
) -> list[tuple[float, Pcm]]:
    """Frames with the time at which a model of that speed delivers them."""
    rng = np.random.default_rng(1)
    frames = np.split(pcm, range(FRAME_SAMPLES, len(pcm), FRAME_SAMPLES))
    times = start + np.cumsum(rtf * FRAME_S * rng.uniform(1 - jitter, 1 + jitter, len(frames)))
    return list(zip(times.tolist(), frames, strict=True))


def played(buffer: PlayBuffer, deliveries: Iterable[tuple[float, Pcm]]) -> Pcm:
    """All that a device is given, on a virtual clock; the entry ends with its last frame."""
    coming = list(deliveries)
    now = 0.0
    lead: Lead | None = None
    blocks = []
    while coming or buffer.is_pending or lead:
        while coming and coming[0][0] <= now:
            buffer.feed(coming.pop(0)[1])
            if not coming:
                buffer.end()
        if lead is None:
            if buffer.is_ready:
                lead = Lead(now)
            elif coming:
                now = coming[0][0]
            continue
        step = buffer.next(now, lead.at(now), TAIL_S)
        if step.block is not None:
            blocks.append(step.block)
            lead.wrote(len(step.block))
            now += max(0.0, lead.at(now) - LATENCY_S)
        elif step.wait_s:
            now = min(now + max(step.wait_s, 1e-6), coming[0][0] if coming else np.inf)
        else:
            lead = None
    return np.concatenate(blocks)


def spoken(heard: Pcm) -> Pcm:
    return heard[heard != 0]


@pytest.mark.parametrize(
    ("expected_s", "rtf", "mode", "seconds"),
    [
        (12.0, 0.5, "auto", CUSHION_S),
        (12.0, 0.9, "auto", CUSHION_S),
        (12.0, 1.0, "auto", CUSHION_S),
        (12.0, 1.1, "auto", 12 * (1 - 1 / 1.1) + CUSHION_S),
        (3.0, 2.0, "auto", 1.5 + CUSHION_S),
        (12.0, 1.5, "auto", 4 + CUSHION_S),
        (13.0, 3.0, "auto", float("inf")),  # 26 s of waiting
        (60.0, 1.2, "auto", float("inf")),
        (12.0, None, "auto", CUSHION_S),
        (13.0, 2.0, "smooth", 6.5 + CUSHION_S),
        (90.0, 8.0, "smooth", 78.75 + CUSHION_S),
        (12.0, 0.5, "smooth", CUSHION_S),
        (12.0, 8.0, "asap", 2 * FRAME_S),
        (12.0, None, "asap", 2 * FRAME_S),
        (12.0, 0.1, "render", float("inf")),
        (0.0, 3.0, "auto", CUSHION_S),
    ],
)
def test_prebuffer_table(expected_s: float, rtf: float | None, mode: str, seconds: float) -> None:
    assert prebuffer_s(expected_s, rtf, mode) == pytest.approx(seconds)


def test_a_slower_model_never_starts_with_less() -> None:
    for mode in MODES:
        cushions = [prebuffer_s(5.0, rtf, mode) for rtf in (0.5, 0.9, 1.0, 1.1, 1.5, 2, 4, 8)]
        assert cushions == sorted(cushions)


@pytest.mark.parametrize("mode", ["auto", "smooth", "render"])
@pytest.mark.parametrize("rtf", [0.3, 0.9, 1.0, 1.1, 1.5, 3.0, 8.0])
def test_with_that_cushion_nothing_is_heard_but_the_words(rtf: float, mode: str) -> None:
    pcm = sound(12.0)
    buffer = PlayBuffer()
    buffer.begin(prebuffer_s(12.0, rtf, mode))
    heard = played(buffer, delivered(pcm, rtf, jitter=0.25))
    np.testing.assert_array_equal(heard[: len(pcm)], pcm)
    assert buffer.take_finished_gaps() == Gaps()


def test_smooth_starts_as_soon_as_it_can() -> None:
    deliveries = delivered(sound(12.0), 1.5)
    buffer = PlayBuffer()
    buffer.begin(prebuffer_s(12.0, 1.5, "smooth"))
    played(buffer, deliveries)
    assert buffer.latest.first_write_at == pytest.approx(12 * 1.5 - 12 + CUSHION_S * 1.5, abs=0.2)


@pytest.mark.parametrize("rtf", [1.5, 3.0])
def test_without_it_gaps_are_counted_and_no_sample_is_lost_or_doubled(rtf: float) -> None:
    pcm = sound(12.0)
    buffer = PlayBuffer()
    buffer.begin(prebuffer_s(12.0, rtf, "asap"))
    heard = played(buffer, delivered(pcm, rtf))
    gaps = buffer.take_finished_gaps()
    assert gaps.n_starved > 1
    words = spoken(heard)
    assert len(words) == len(pcm)
    n_faded = np.count_nonzero(words != pcm)
    assert 0 < n_faded <= 2 * FADE_SAMPLES * gaps.n_starved
    silent_s = (len(heard) - len(pcm)) / SAMPLE_RATE - TAIL_S
    assert gaps.starved_s == pytest.approx(silent_s, abs=0.05)


def test_both_sides_of_a_gap_fade() -> None:
    pcm = np.ones(SAMPLE_RATE, np.float32)
    late = [(0.08, pcm[: SAMPLE_RATE // 2]), (2.0, pcm[SAMPLE_RATE // 2 :])]
    buffer = PlayBuffer()
    buffer.begin(0)
    heard = played(buffer, late)
    edges = np.flatnonzero(np.diff((heard == 0).astype(int)))
    assert len(edges) == 3  # into the gap, out of it, into the tail
    before, after = heard[: edges[0] + 1], heard[edges[1] + 1 :]
    assert (np.diff(before[-FADE_SAMPLES:]) < 0).all()
    assert (np.diff(after[:FADE_SAMPLES]) > 0).all()
    assert np.abs(np.diff(heard[: edges[2]])).max() < 0.01


def test_a_gap_is_declared_only_when_the_device_is_about_to_run_dry() -> None:
    buffer = PlayBuffer()
    buffer.begin(0)
    buffer.feed(sound(0.02))
    step = buffer.next(0.0, 0.15, TAIL_S)
    assert step.block is None
    assert step.wait_s == pytest.approx(0.09)
    assert buffer.current.gaps == Gaps()
    assert buffer.next(0.09, 0.06, TAIL_S).block is not None
    assert buffer.current.gaps.n_starved == 1


def test_after_each_gap_more_is_collected_up_to_a_limit() -> None:
    buffer = PlayBuffer()
    buffer.begin(0)
    refills = []
    for _ in range(6):
        buffer.feed(sound(4.0))
        buffer.next(0.0, 0.0, TAIL_S)
        while not buffer.is_in_gap:
            buffer.next(0.0, 0.0, TAIL_S)
        refills.append(buffer.current.refill / SAMPLE_RATE)
    assert refills == [0.4, 0.8, 1.6, 3.2, 3.2, 3.2]


def test_waiting_for_more_ends_when_the_entry_does() -> None:
    buffer = PlayBuffer()
    buffer.begin(0)
    buffer.feed(sound(0.01))
    buffer.next(0.0, 0.0, TAIL_S)
    assert buffer.is_in_gap
    buffer.feed(sound(0.02, seed=1))
    buffer.end()
    block = buffer.next(0.0, 0.0, TAIL_S).block
    assert block is not None
    np.testing.assert_array_equal(block[FADE_SAMPLES:], sound(0.02, seed=1)[FADE_SAMPLES:])


def test_nothing_is_heard_before_the_cushion_or_the_end() -> None:
    buffer = PlayBuffer()
    buffer.begin(float("inf"))
    buffer.feed(sound(60.0))
    assert not buffer.is_ready
    buffer.end()
    assert buffer.is_ready


def test_an_entry_begun_while_another_is_heard_joins_without_a_seam() -> None:
    one, two = sound(0.51, seed=1), sound(0.33, seed=2)
    buffer = PlayBuffer()
    for pcm in (one, two):
        buffer.begin(0.3)
        buffer.feed(pcm)
    heard = played(buffer, [(0.0, np.zeros(0, np.float32))])
    np.testing.assert_array_equal(heard[: len(one) + len(two)], np.concatenate([one, two]))


def test_an_entry_that_comes_while_the_device_still_holds_the_last_word_joins_it() -> None:
    one, two = sound(0.3, seed=1), sound(0.2, seed=2)
    buffer = PlayBuffer()
    buffer.begin(0)
    buffer.feed(one)
    buffer.end()
    lead = Lead(0.0)
    while (step := buffer.next(0.0, lead.at(0.0), TAIL_S)).block is not None:
        lead.wrote(len(step.block))
    assert step.wait_s == pytest.approx(0.24)
    buffer.begin(0)
    buffer.feed(two)
    buffer.end()
    block = buffer.next(0.1, lead.at(0.1), TAIL_S).block
    assert block is not None
    np.testing.assert_array_equal(block, two[:BLOCK_SAMPLES])


def test_the_next_entrys_cushion_is_kept_and_its_wait_is_not_a_gap() -> None:
    one, two = sound(0.5, seed=1), sound(2.0, seed=2)
    buffer = PlayBuffer()
    buffer.begin(0.3)
    buffer.feed(one)
    buffer.begin(1.0)
    heard = played(buffer, delivered(two, 1.5, start=0.2))
    np.testing.assert_array_equal(spoken(heard), np.concatenate([one, two]))
    assert buffer.take_finished_gaps() == Gaps()


def test_silence_after_the_last_word_covers_what_the_device_holds() -> None:
    buffer = PlayBuffer()
    buffer.begin(0)
    buffer.feed(sound(0.1))
    heard = played(buffer, [(0.0, np.zeros(0, np.float32))])
    n_tail = len(heard) - len(sound(0.1))
    assert TAIL_S * SAMPLE_RATE <= n_tail < TAIL_S * SAMPLE_RATE + BLOCK_SAMPLES
    assert not heard[-n_tail:].any()


def test_cancel_drops_everything_until_the_next_begin() -> None:
    buffer = PlayBuffer()
    buffer.begin(0)
    buffer.feed(sound(1.0))
    buffer.next(0.0, 0.0, TAIL_S)
    buffer.cancel()
    buffer.feed(sound(1.0))
    buffer.end()
    assert not buffer.is_pending
    assert buffer.n_waiting == 0
    assert buffer.next(0.0, 0.0, TAIL_S).block is None
    buffer.begin(0)
    buffer.feed(sound(0.2, seed=3))
    heard = played(buffer, [(0.0, np.zeros(0, np.float32))])
    np.testing.assert_array_equal(spoken(heard), sound(0.2, seed=3))


def test_samples_outside_an_entry_begin_one() -> None:
    buffer = PlayBuffer()
    buffer.feed(sound(0.1))
    assert buffer.is_pending
    assert not buffer.is_ready  # it has the usual cushion


def test_an_entry_without_a_sample_is_over_at_its_end() -> None:
    buffer = PlayBuffer()
    buffer.begin(0.3)
    assert buffer.is_pending
    buffer.end()
    assert not buffer.is_pending


def test_the_callers_array_may_change_after_feeding() -> None:
    pcm = np.ones(BLOCK_SAMPLES, np.float32)
    buffer = PlayBuffer()
    buffer.begin(0)
    buffer.feed(pcm)
    pcm[:] = 0
    buffer.end()
    block = buffer.next(0.0, 0.0, TAIL_S).block
    assert block is not None
    assert block.all()


@pytest.mark.parametrize(
    ("gaps", "rtf", "note"),
    [
        (Gaps(), 1.3, None),
        (
            Gaps(2, 0.9),
            1.3,
            "2 gaps, 0.9 s of waiting (model is 1.3x slower than real time; "
            "$SET audio.start smooth$ to wait first)",
        ),
        (
            Gaps(1, 0.4),
            None,
            "1 gap, 0.4 s of waiting (model is late; $SET audio.start smooth$ to wait first)",
        ),
        (
            Gaps(n_device_underruns=1),
            0.5,
            "1 device underrun (machine too busy; a larger audio.latency_s helps)",
        ),
    ],
)
def test_gaps_in_words(gaps: Gaps, rtf: float | None, note: str | None) -> None:
    heard = gaps.heard(rtf)
    assert (heard and words(heard, PROMPT)) == note


def test_the_two_kinds_of_gap_are_told_apart() -> None:
    heard = Gaps(1, 0.4, 3).heard()
    assert heard is not None
    starved, underruns = words(heard).split("; 3")
    assert starved.startswith("1 gap, 0.4 s")
    assert underruns.startswith(" device underruns")


def test_watchdog_tells_a_call_that_does_not_return() -> None:
    watchdog = Watchdog()
    with watchdog.call(2.0):
        looks = [watchdog.is_stuck(now / 10) for now in range(30)]
    assert looks.index(True) == 21
    assert not watchdog.is_stuck(3.1)


def test_watchdog_is_calm_while_calls_return() -> None:
    watchdog = Watchdog()
    for now in range(100):
        with watchdog.call(2.0):
            assert not watchdog.is_stuck(now * 0.4)


def test_watchdog_forgives_a_process_that_was_stopped() -> None:
    watchdog = Watchdog()
    with watchdog.call(2.0):
        watchdog.is_stuck(0.0)
        assert not watchdog.is_stuck(0.1)
        assert not watchdog.is_stuck(3600.0)
        assert not watchdog.is_stuck(3600.1)
