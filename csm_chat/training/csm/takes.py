"""How takes of a model in training end, spoken by the engine itself. Knows no loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from csm_chat.engine.torch.engine import TorchEngine, only
from csm_chat.training.csm.batch import Batch
from csm_chat.training.csm.model import CsmTrainer
from csm_chat.types import Prompt, Sampling

_LONGEST = 2  # times the true length, and some frames


def take_figures(model: CsmTrainer, batches: Sequence[Batch], n_takes: int) -> dict[str, float]:
    """Speak the last line of sequences anew.

    `ended`: the share that ends within twice the true length; `length`: the median of theirs to the
    true one, of those that ended (0 if none did).
    """
    engine = TorchEngine(only(model.csm), model.sizes)
    ratios, n_asked = [], 0
    for asked, n_frames in islice(_asked(batches), n_takes):
        sampling = Sampling(seed=n_asked, max_frames=_LONGEST * n_frames + 5)
        n_said = sum(1 for _ in engine.frames(asked, sampling))
        n_asked += 1
        if n_said < sampling.max_frames:
            ratios.append(n_said / n_frames)
    length = float(np.median(ratios)) if ratios else 0.0
    return {"ended": len(ratios) / max(n_asked, 1), "length": length}


def _asked(batches: Sequence[Batch]) -> Iterator[tuple[Prompt, int]]:
    """Prompts up to the last learned line's audio, and how many frames it has."""
    for batch in batches:
        for tokens, mask, learned in zip(batch.tokens, batch.mask, batch.learned, strict=True):
            end = int(learned.nonzero()[-1, 0])
            start = end - int(learned[: end + 1].flip(0).long().cumprod(0).sum()) + 1
            asked = Prompt(
                tokens[: start + 1].cpu().numpy().astype(np.int32), mask[: start + 1].cpu().numpy()
            )
            yield asked, end - start
