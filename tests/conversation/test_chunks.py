"""How many frames are handed on at a time changes when sound comes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from csm_chat.config.settings import ContextConfig, SamplingConfig
from csm_chat.conversation import guard
from csm_chat.conversation.session import Session
from csm_chat.types import FRAME_SAMPLES, Pcm, Turn, Utterance
from tests.fakes import fake_backend

HANGING = [20, *[7] * 30]
SILENT = [20, 30, *[0] * 60]
LINE = Utterance("A line that is long enough to be spoken for quite a while.", 0)


def spoken(session: Session) -> tuple[list[Pcm], Turn]:
    chunks = []
    stream = session.take(LINE)
    while True:
        try:
            chunks.append(next(stream))
        except StopIteration as end:
            return chunks, end.value


@pytest.mark.parametrize(
    ("take", "ended", "max_repeats"),
    [
        (29, "eos", 10),
        (1, "early", 10),
        (None, "limit", 10),
        (HANGING, "guard", 10),
        (SILENT, "guard", 1000),
    ],
)
@pytest.mark.parametrize("chunk_frames", [2, 5, 12])
def test_any_chunk_length_gives_the_same_take(
    take: int | list[int] | None,
    ended: str,
    max_repeats: int,
    chunk_frames: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "MAX_REPEATS", max_repeats)
    takes = []
    for n_frames in (1, chunk_frames):
        session = Session(
            fake_backend([take]),
            sampling=SamplingConfig(seed=1),
            context=ContextConfig(max_turn_s=5.0),
            chunk_frames=n_frames,
        )
        chunks, turn = spoken(session)
        assert all(len(chunk) == n_frames * FRAME_SAMPLES for chunk in chunks[:-1])
        takes.append((np.concatenate(chunks), turn))
    (pcm, turn), (others, other) = takes
    assert np.array_equal(pcm, others)
    assert np.array_equal(turn.segment.codes, other.segment.codes)
    assert turn.ended == other.ended == ended


def test_a_model_speaks_the_same_in_chunks(checkpoint: Path) -> None:
    import csm_chat

    backend = csm_chat.load(checkpoint, device="cpu", dtype="float32")
    takes = []
    for n_frames in (1, 5):
        session = Session(backend, sampling=SamplingConfig(seed=4), chunk_frames=n_frames)
        chunks, turn = spoken(session)
        takes.append((np.concatenate(chunks), turn.segment.codes))
    assert np.array_equal(takes[0][1], takes[1][1])
    # the codec's sums are taken in another order
    assert np.abs(takes[0][0] - takes[1][0]).max() < 1e-4
