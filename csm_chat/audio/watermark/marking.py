"""Inaudible marks that say "synthetic": put into audio piece by piece.

perth.py and silentcipher.py are the methods, finding.py searches by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from csm_chat.audio.watermark.finding import Detector, Found, find
from csm_chat.types import SAMPLE_RATE, Pcm

METHODS = ("perth", "silentcipher")  # each the name of a package
# Pieces agree where they meet, up to what a method measures over a whole piece.
FADE_SAMPLES = SAMPLE_RATE // 50


class Method(Detector, Protocol):
    """One way to mark; its name is one of METHODS. Its samples are mono at SAMPLE_RATE."""

    @property
    def words(self) -> str:
        """The name and whose key, never the key."""
        ...

    @property
    def piece_samples(self) -> int:
        """How much is marked at a time."""
        ...

    @property
    def before_samples(self) -> int:
        """How much of what is before a piece its mark depends on."""
        ...

    @property
    def after_samples(self) -> int: ...

    def mark(self, pcm: Pcm) -> Pcm:
        """As many samples as given, at least one."""
        ...


class Watermark:
    """Marks and finds marks by one method. Any length, in memory that does not grow with it."""

    def __init__(self, method: Method) -> None:
        self._method = method

    @property
    def name(self) -> str:
        return self._method.name

    @property
    def words(self) -> str:
        return self._method.words

    def stream(self) -> Marking:
        """A new signal to be marked."""
        return Marking(self._method)

    def mark(self, pcm: Pcm) -> Pcm:
        """All of a signal at once: what `stream` gives, end to end. As long as `pcm`."""
        marking = self.stream()
        return np.concatenate([marking.write(pcm), marking.end()])

    def detect(self, blocks: Iterable[Pcm]) -> Found:
        """Search a signal, a block after the other, for the mark of this method and key."""
        return find(self._method, blocks)


class Marking:
    """A signal on its way through: samples in, marked samples out once a piece is whole.

    What comes out is what the method makes of the whole signal: each piece is marked with its
    surroundings, and fades over from how the piece before would have gone on.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self._held: Pcm = np.zeros(0, np.float32)
        self._n_given = 0  # of those held, kept as surroundings
        self._ahead: Pcm = self._held  # marked by the piece before, past its end

    def write(self, pcm: Pcm) -> Pcm:
        """Add samples; returns those that are marked by now, maybe none."""
        self._held = np.concatenate([self._held, pcm])
        method, marked = self._method, [self._held[:0]]
        while len(self._held) >= (
            self._n_given + method.piece_samples + max(method.after_samples, FADE_SAMPLES)
        ):
            marked.append(self._piece(self._n_given + method.piece_samples))
        return np.concatenate(marked)

    def end(self) -> Pcm:
        """The rest. The next `write` begins another signal."""
        rest = self._piece(len(self._held))
        self._held, self._n_given, self._ahead = rest[:0], 0, rest[:0]
        return rest

    def _piece(self, end: int) -> Pcm:
        """The marked samples up to `end` that were not given out before."""
        if end == self._n_given:
            return self._held[:0]
        reach = end + max(self._method.after_samples, FADE_SAMPLES)
        marked = self._method.mark(self._held[:reach])
        piece = _faded(self._ahead, marked[self._n_given : end])
        self._ahead = marked[end : end + FADE_SAMPLES]
        kept = min(self._method.before_samples, end)
        self._held = self._held[end - kept :]
        self._n_given = kept
        return piece


def _faded(before: Pcm, after: Pcm) -> Pcm:
    """`after`, its beginning faded in over `before`."""
    n_fade = min(len(before), len(after))
    share = np.arange(n_fade, dtype=np.float32) / max(1, n_fade)
    head = before[:n_fade] + (after[:n_fade] - before[:n_fade]) * share
    return np.concatenate([head, after[n_fade:]])


def is_installed(method: str) -> bool:
    return find_spec(method) is not None


def open_watermark(method: str, key_file: Path | None, environ: Mapping[str, str]) -> Watermark:
    """Load what marks by `method`, one of METHODS. Takes about a second.

    Raises WatermarkError if it is not installed or does not load, ConfigError for a wrong key.
    """
    return detectors(method, key_file, environ)[0]


def detectors(
    method: str, key_file: Path | None, environ: Mapping[str, str]
) -> tuple[Watermark, ...]:
    """Load what finds the marks of a method: those of `open_watermark` first, then of other keys.

    Raises WatermarkError, ConfigError.
    """
    if method == "silentcipher":
        from csm_chat.audio.watermark.silentcipher import CSM_KEY, SilentCipher, load, own_key

        own = own_key(key_file, environ)
        model = load()
        keys = dict.fromkeys((own or CSM_KEY, CSM_KEY))
        return tuple(Watermark(SilentCipher(model, key)) for key in keys)
    assert method == "perth", method
    from csm_chat.audio.watermark.perth import Perth

    return (Watermark(Perth()),)
