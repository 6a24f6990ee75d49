"""What a frame takes on MLX, beside the way that other MLX ports of CSM draw one.

Run as `python -m benchmarks.mlx`, or with `--mode int8` and others, and `--full` for CSM-1B in full
size. Weights are random; all ways have the same ones and take turns, frame by frame. "fresh" makes
a cache for the depth decoder with each frame, compiles nothing and waits for a frame before it
begins the next. "compiled" needs a C++ compiler on a cpu, and takes its time once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np

from csm_chat.checkpoint import weights
from csm_chat.checkpoint.sizes import CsmSizes, parse_sizes
from csm_chat.engine.mlx.cache import Cache
from csm_chat.engine.mlx.device import best_dtype, choose_device, mlx_device
from csm_chat.engine.mlx.engine import MlxEngine
from csm_chat.engine.mlx.load import Checkpoint
from csm_chat.engine.mlx.model import Csm
from csm_chat.engine.mlx.sampling import samplers
from csm_chat.engine.torch.sampling import Noise
from csm_chat.types import FRAME_MS, Frame, Prompt, Sampling

WARM_UP = 3  # frames
FRESH_ROWS = 256  # of a cache made with each frame, as mlx-lm makes them
SMALL = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 1024,
    "text_vocab_size": 512,
    "depth_decoder_config": {
        "hidden_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 768,
    },
}


class FreshEngine(MlxEngine):
    """A new depth cache a frame, nothing compiled, nothing ahead."""

    def frames(self, prompt: Prompt, sampling: Sampling) -> Iterator[Frame]:  # type: ignore[override]
        self._begin()
        first, rest = samplers(sampling, self._sizes.entries)
        noise = Noise([sampling.seed], self.codebooks, max(first.n_kept, rest.n_kept), "cpu")
        hidden = self._prefill(prompt)
        for _ in range(sampling.max_frames):
            with mx.stream(self._stream):
                self._depth = Cache.empty(self._sizes.depth, FRESH_ROWS, hidden.dtype)
            codes = self._draw(first, rest, noise.frame()[0].numpy(), hidden)
            frame: Frame = np.array(codes)
            yield frame
            hidden = self._feed(codes, frame)


def random_model(sizes: CsmSizes, mode: str, dtype: mx.Dtype) -> Csm:
    found = {
        name: weights._part_shapes(sizes)[part]
        for part, name in weights.part_names(sizes, weights.ORIGINAL).items()
    }
    sources = weights.plan(sizes, found, Path())

    def read(name: str) -> mx.array:
        shape = found[name]
        if len(shape) == 1:
            return mx.ones(shape)
        n_in = shape[1] if len(shape) == 3 else shape[-1]
        return mx.random.normal(shape, scale=n_in**-0.5)

    return Csm(sizes, Checkpoint(sources, read, {}, mode, dtype))


def prompt(sizes: CsmSizes, n_rows: int) -> Prompt:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, sizes.entries, (n_rows, sizes.codebooks + 1), np.int32)
    mask = np.ones_like(tokens, np.bool_)
    mask[:, -1] = False
    return Prompt(np.where(mask, tokens, 0), mask)


def measure(ways: dict[str, MlxEngine], asked: Prompt, n_frames: int) -> dict[str, list[float]]:
    """Seconds of each frame, by way."""
    sampling = Sampling(max_frames=n_frames + WARM_UP + 1, seed=1)
    takes = {name: engine.frames(asked, sampling) for name, engine in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    said: dict[str, list[list[int]]] = {name: [] for name in ways}
    for _ in range(n_frames + WARM_UP):
        for name, take in takes.items():
            start = time.perf_counter()
            said[name].append(next(take).tolist())
            mx.synchronize(ways[name]._stream)  # what is ahead counts where it was begun
            seconds[name].append(time.perf_counter() - start)
    assert all(each == said["fresh"] for each in said.values()), "all ways say the same"
    return {name: each[WARM_UP:] for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="CSM-1B instead of a small one")
    parser.add_argument("--mode", default="none", choices=["none", "int8", "int4"])
    parser.add_argument("--rows", type=int, default=100, help="of context")
    parser.add_argument("--frames", type=int, default=30)
    options = parser.parse_args()
    device = choose_device()
    dtype = getattr(mx, best_dtype(device))
    sizes = parse_sizes({} if options.full else SMALL)
    mx.random.seed(0)
    with mx.stream(mlx_device(device)):
        model = random_model(sizes, options.mode, dtype)
    args = (lambda _: model, sizes, mlx_device(device), dtype)
    ways = {
        "fresh": FreshEngine(*args, compiled=False),
        "eager": MlxEngine(*args, compiled=False),
        "compiled": MlxEngine(*args, compiled=True),
    }
    seconds = measure(ways, prompt(sizes, options.rows), options.frames)
    fresh = statistics.median(seconds["fresh"])
    for name, each in seconds.items():
        ms = statistics.median(each) * 1e3
        ratio = fresh * 1e3 / ms
        sys.stdout.write(f"{name:10} {ms:8.1f} ms  {ms / FRAME_MS:6.2f} RTF  {ratio:5.2f} x\n")


if __name__ == "__main__":
    main()
