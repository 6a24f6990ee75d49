"""The lifetime of a stream of decoding, for every codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from csm_chat.types import Codes, Pcm

Stream = TypeVar("Stream")


@contextmanager
def opened(
    stream: Stream, decode: Callable[[Stream, Codes], Pcm]
) -> Iterator[Callable[[Codes], Pcm]]:
    """Decode by a stream whose state lives inside the `with`; after it a call is a defect."""
    streams = [stream]

    def decode_next(codes: Codes) -> Pcm:
        assert streams, "the stream's `with` has ended"
        return decode(streams[0], codes)

    try:
        yield decode_next
    finally:
        streams.clear()
