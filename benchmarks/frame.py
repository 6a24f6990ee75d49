"""What a frame costs on this processor: CSM-1B in full size, with random weights, in memory.

Run as `python -m benchmarks.frame MODE ...`, modes being int8, int4, float32, bfloat16 and float16;
`--vs transformers` also times `CsmForConditionalGeneration.generate` in bfloat16, in the same run.
Random weights say nothing, but cost what others cost. Every figure is the median over the frames.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csm_chat.backends import weights
from csm_chat.backends.sizes import CsmSizes, parse_sizes
from csm_chat.backends.torch_engine import TorchEngine
from csm_chat.backends.torch_model import Csm, slots
from csm_chat.backends.torch_quantised_load import BITS, packer, quantised_model
from csm_chat.backends.weights import Source
from csm_chat.types import FRAME_MS, Prompt, Sampling

WARM_UP = 2  # frames


def random_rows(source: Source, start: int, end: int) -> Tensor:
    """A source's rows, drawn anew each time."""
    shape = source.shape
    n = min(end, shape[0]) - start
    if len(shape) == 1:
        return torch.ones(n)
    n_in = shape[1] if len(shape) == 3 else shape[-1]
    return torch.randn(n, *shape[1:]).mul_(n_in**-0.5)


def random_model(sizes: CsmSizes, mode: str) -> Csm:
    found = {
        name: weights._part_shapes(sizes)[part]
        for part, name in weights.part_names(sizes, weights.ORIGINAL).items()
    }
    sources = weights.plan(sizes, found, Path())
    if mode in BITS:
        return quantised_model(sizes, packer(sources, random_rows, mode), mode)
    model = Csm(sizes).to(getattr(torch, mode)).requires_grad_(False).eval()
    for source in sources:
        slots(model)[source.part].copy_(random_rows(source, 0, source.shape[0]))
    return model


def prompt(sizes: CsmSizes, n_rows: int) -> Prompt:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, sizes.entries, (n_rows, sizes.codebooks + 1), np.int32)
    mask = np.ones_like(tokens, np.bool_)
    mask[:, -1] = False
    return Prompt(tokens, mask)


class Spent:
    """Seconds in calls of a module."""

    def __init__(self) -> None:
        self.s = 0.0

    @contextmanager
    def counting(self, module: torch.nn.Module) -> Iterator[None]:
        starts: list[float] = []
        before = module.register_forward_pre_hook(lambda *_: starts.append(time.perf_counter()))
        after = module.register_forward_hook(lambda *_: self._add(starts.pop()))
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _add(self, start: float) -> None:
        self.s += time.perf_counter() - start


def ours(mode: str, n_rows: int, n_frames: int) -> float:
    sizes = parse_sizes({})
    model = random_model(sizes, mode)
    engine = TorchEngine(model, sizes)
    rows: list[tuple[float, float, float]] = []
    backbone, depth = Spent(), Spent()
    start = time.perf_counter()
    frames = engine.frames(prompt(sizes, n_rows), Sampling(max_frames=n_frames + WARM_UP))
    next(frames)
    first_s = time.perf_counter() - start
    with backbone.counting(model.backbone), depth.counting(model.depth):
        while True:
            backbone.s = depth.s = 0.0
            start = time.perf_counter()
            if next(frames, None) is None:
                break
            rows.append((time.perf_counter() - start, backbone.s, depth.s))
    whole, backbone_s, depth_s = (statistics.median(column) for column in zip(*rows, strict=True))
    print_row(
        mode,
        whole,
        f"{backbone_s * 1e3:8.1f} {depth_s * 1e3:8.1f} "
        f"{(whole - backbone_s - depth_s) * 1e3:8.1f} {first_s * 1e3:8.0f}",
    )
    return whole


def transformers(n_rows: int, n_frames: int) -> float:
    """Seconds a frame: what `n_frames` more take, so that the prompt is not in it."""
    from transformers import CsmConfig, CsmForConditionalGeneration

    with torch.device("meta"):
        model = CsmForConditionalGeneration._from_config(CsmConfig(), dtype=torch.bfloat16)
    model.to_empty(device="cpu").requires_grad_(False).eval()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.fill_(0.01)  # drawing its own takes minutes; whole numbers become 0, all in range
    ids = torch.randint(10, 1000, (1, n_rows))

    def seconds(n_new: int) -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            model.generate(input_ids=ids, max_new_tokens=n_new, do_sample=True)
        return time.perf_counter() - start

    seconds(WARM_UP)
    few, many = seconds(WARM_UP), seconds(WARM_UP + n_frames)
    whole = (many - few) / n_frames
    print_row("transformers, bfloat16", whole, "")
    return whole


def print_row(name: str, whole_s: float, more: str) -> None:
    rtf = whole_s * 1e3 / FRAME_MS
    sys.stdout.write(f"{name:24} {whole_s * 1e3:8.1f} {rtf:6.2f} {more}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modes", nargs="*", default=["int8", "int4"])
    parser.add_argument("--rows", type=int, default=300, help="of context")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--vs", choices=["transformers"])
    options = parser.parse_args()
    torch.manual_seed(0)
    heads = ("", "ms", "RTF", "backbone", "depth", "rest", "first")
    sys.stdout.write("{:24} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8}\n".format(*heads))
    seconds: dict[str, float] = {}
    with torch.inference_mode():
        for mode in options.modes:
            seconds[mode] = ours(mode, options.rows, options.frames)
            gc.collect()  # a model is a circle of references
    if options.vs:
        peer = transformers(options.rows, options.frames)
        for mode, own in seconds.items():
            sys.stdout.write(f"{mode}: {peer / own:.1f} x as quick as transformers\n")


if __name__ == "__main__":
    main()
