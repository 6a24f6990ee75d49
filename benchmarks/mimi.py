"""Mimi on the CPU, ours and moshi's own, in turns: `python -m benchmarks.mimi [THREADS]`.

The real sizes, with random weights: the time does not depend on them. One thread is timed by what
it takes of a core, which other programs disturb less; more of them by the clock.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from moshi.utils.compile import no_compile

from csm_chat.bench.limit import bytes_read_a_s
from csm_chat.bench.machine import GB
from csm_chat.codec.config import moshi_config
from csm_chat.codec.mimi import MimiCodec
from csm_chat.codec.sizes import sizes_of
from csm_chat.types import FRAME_SAMPLES, Codes

CODEBOOKS = 32
ENTRIES = 2048
N_CALLS = 24
CHUNKS = (1, 2, 4)  # frames a call
CLIP_FRAMES = 40


def random_mimi() -> MimiModel:
    torch.manual_seed(0)
    mimi = loaders.get_mimi(None, num_codebooks=CODEBOOKS)
    for name, buffer in mimi.named_buffers():
        if name.endswith("embedding_sum"):
            buffer.normal_()
    return mimi.requires_grad_(False)


def decoder_bytes(mimi: MimiModel) -> int:
    """Of the weights that every frame reads, the codebooks aside: it reads a few of their rows."""
    parts: tuple[Any, ...] = (mimi.upsample, mimi.decoder_transformer, mimi.decoder)
    return sum(4 * p.numel() for part in parts for p in part.parameters())


def seconds_of(call: Callable[[], object]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    call()
    return clock() - started


@contextmanager
def moshis_stream(mimi: MimiModel) -> Iterator[Callable[[Codes], object]]:
    with torch.inference_mode(), no_compile(), mimi.streaming(1):
        yield lambda codes: mimi.decode(torch.from_numpy(codes.T[None]).long())


def decode_ms(mimi: MimiModel, codec: MimiCodec, n_frames: int) -> tuple[list[float], list[float]]:
    """Milliseconds a frame of moshi's decoding and ours, call after call."""
    rng = np.random.default_rng(n_frames)
    calls = rng.integers(ENTRIES, size=(N_CALLS + 2, n_frames, CODEBOOKS)).astype(np.int32)
    times: tuple[list[float], list[float]] = ([], [])
    with ExitStack() as stack:
        decoders = [
            stack.enter_context(stream) for stream in (moshis_stream(mimi), codec.decoding())
        ]
        for codes in calls:
            for decode, ms in zip(decoders, times, strict=True):
                ms.append(seconds_of(partial(decode, codes)) * 1e3 / n_frames)
    return times[0][2:], times[1][2:]


def encode_ms(mimi: MimiModel, codec: MimiCodec) -> tuple[list[float], list[float]]:
    """Milliseconds a frame of a clip encoded whole."""
    rng = np.random.default_rng(0)
    pcm = (rng.standard_normal(CLIP_FRAMES * FRAME_SAMPLES) * 0.1).astype(np.float32)
    tensor = torch.from_numpy(pcm)[None, None]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(6):
        with torch.inference_mode(), no_compile():
            times[0].append(seconds_of(lambda: mimi.encode(tensor)) * 1e3 / CLIP_FRAMES)
        times[1].append(seconds_of(lambda: codec.encode(pcm)) * 1e3 / CLIP_FRAMES)
    return times[0][1:], times[1][1:]


def row(name: str, theirs: list[float], ours: list[float]) -> str:
    """Medians, and in brackets the fastest call: what the machine does when it is left alone."""
    medians = statistics.median(theirs), statistics.median(ours)
    return (
        f"{name:28} {medians[0]:6.2f} ({min(theirs):6.2f})  {medians[1]:6.2f} ({min(ours):6.2f})"
        f"  {medians[0] / medians[1]:5.1f} ({min(theirs) / min(ours):.1f})\n"
    )


def main(threads: int) -> None:
    torch.set_num_threads(threads)
    mimi = random_mimi()
    tensors = {name: tensor.clone() for name, tensor in mimi.state_dict().items()}
    codec = MimiCodec(sizes_of(moshi_config({})), CODEBOOKS, lambda _: tensors)
    size, pace = decoder_bytes(mimi) / GB, bytes_read_a_s("cpu") / GB
    sys.stdout.write(
        f"torch {torch.__version__}, {threads} threads; decoder of {size * 1e3:.0f} MB, memory read"
        f" at {pace:.1f} GB/s: no frame alone in less than {size / pace * 1e3:.1f} ms\n"
        f"{'ms a frame':28} {'moshi':>6} {'best':>8}  {'ours':>6} {'best':>8}  {'ratio':>5}\n"
    )
    for n_frames in CHUNKS:
        name = f"decode, {n_frames} frame{'s' * (n_frames > 1)} a call"
        sys.stdout.write(row(name, *decode_ms(mimi, codec, n_frames)))
    sys.stdout.write(row(f"encode {CLIP_FRAMES} frames", *encode_ms(mimi, codec)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else torch.get_num_threads())
