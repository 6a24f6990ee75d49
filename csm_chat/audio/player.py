"""The loudspeaker as a sink, from the caller's side. Knows no model and no file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from csm_chat.audio.device import OutputStream, open_output
from csm_chat.audio.play_buffer import Gaps, PlayBuffer
from csm_chat.audio.writer import OPENING_S, Writer
from csm_chat.errors import DeviceError
from csm_chat.notices import GapsHeard, Listener, SoundLost, log_only
from csm_chat.types import SAMPLE_RATE, Pcm

OFF = "off"
CLOSING_S = 1.5
POLL_S = 0.1

State = Literal["off", "idle", "buffering", "playing"]
OpenStream = Callable[[str, float, bool], OutputStream]  # device, latency_s, look for devices anew


@dataclass(frozen=True, slots=True)
class PlayerStatus:
    """A snapshot."""

    state: State
    device: str  # its name once it was open, before that what was asked for
    rate: int  # Hz the device runs at; 0 while it is closed
    level: float  # peak of the block last written, 0 - 1
    buffered_s: float  # ready to be played, beyond what the device holds
    gaps: Gaps  # of the entry being heard, or of the last one
    first_write_at: float | None  # monotonic time the latest entry's first block was handed over


class Player:
    """A `Sink` that is heard. Any thread; only `open`, `reopen`, `drain` and `close` wait.

    The device opens at `open`, or when the first entry is due, and is let go after `idle_s` without
    sound. With device "off", or once the device failed or went away, the player is silent: it takes
    everything, nobody hears it, and `drain` returns at once. `tell` gets one notice when sound is
    lost, from the player's thread or from the one that found out.
    """

    def __init__(
        self,
        device: str = "default",
        latency_s: float = 0.2,
        tell: Listener = log_only,
        *,
        open_stream: OpenStream = open_output,
        idle_s: float = 30.0,
    ) -> None:
        self._configured = device
        self._device = device
        self._latency_s = latency_s
        self._tell = tell
        self._open_stream = open_stream
        self._idle_s = idle_s
        self._refresh = False
        self._closed = False
        self._suspended = False
        self._changed = threading.Condition()
        self._buffer = PlayBuffer()
        self._writer: Writer | None = None

    def open(self) -> None:
        """Open the device now, not at the first entry. Raises DeviceError and is silent then."""
        with self._changed:
            if self._device == OFF or self._closed:
                return
            writer = self._started()
            writer.open()
            if not self._changed.wait_for(lambda: writer.rate or writer.failure, OPENING_S):
                writer.fail(_stuck(self._device))
            if writer.failure:
                raise DeviceError(str(writer.failure)) from writer.failure

    def reopen(self, device: str | None = None) -> None:
        """Look for devices anew and open this one (None: the one given at first).

        What was playing is dropped. Raises DeviceError and is silent then.
        """
        self._stop()
        with self._changed:
            if self._writer and self._writer.thread.is_alive():
                self._writer.fail(_stuck(self._device))
                raise DeviceError(f"{_stuck(self._device)}; restart the program to use sound again")
            self._writer = None
            self._device = device or self._configured
            self._refresh = True
        self.open()

    def suspend(self) -> None:
        """Let the device go for others. What was not heard waits for `resume`."""
        with self._changed:
            self._suspended = True
            writer = self._writer
            if writer is None or self._is_silent:
                return
            writer.quit()
        writer.thread.join(CLOSING_S)
        with self._changed:
            if not (writer.failure or writer.thread.is_alive()):
                self._writer = None

    def resume(self) -> None:
        """Go on after `suspend`; the device opens once there is something to play."""
        with self._changed:
            self._suspended = False
            if self._buffer.is_pending and not self._is_silent:
                self._start()

    def begin(self, prebuffer_s: float) -> None:
        """Start an entry: it is heard once that much is there, or at `end`.

        While an earlier entry is still heard, this one joins it without a seam if it has its
        cushion by then.
        """
        with self._changed:
            if not self._is_silent:
                self._start()
                self._buffer.begin(prebuffer_s)
                self._changed.notify_all()

    def write(self, pcm: Pcm) -> None:
        """Take samples, without waiting. After `cancel` they are dropped until `begin`."""
        self._look()
        with self._changed:
            if not self._is_silent:
                self._start()
                self._buffer.feed(pcm)
                self._changed.notify_all()

    def overlap(self, n_samples: int) -> None:
        """What is written next lies over so much of the end of what was, if it still waits."""
        with self._changed:
            self._buffer.overlap(n_samples)

    def end(self) -> None:
        """The entry is complete."""
        with self._changed:
            self._buffer.end()
            self._changed.notify_all()

    def drain(self) -> None:
        """End the entry; return when all was heard, or the device is gone."""
        self.end()
        while True:
            self._look()
            with self._changed:
                if self._changed.wait_for(lambda: self._is_heard, POLL_S):
                    return

    def cancel(self) -> None:
        """Be quiet within a block, about 40 ms, and drop what was not heard.

        No fade: stopping at once drops what the device holds, and a fade would lie behind that.
        """
        with self._changed:
            self._buffer.cancel()
            if self._writer:
                self._writer.abort()
            self._changed.notify_all()

    def status(self) -> PlayerStatus:
        self._look()
        with self._changed:
            writer, buffer = self._writer, self._buffer
            return PlayerStatus(
                self._state(),
                (writer.name if writer else "") or self._device,
                writer.rate if writer and not self._is_silent else 0,
                writer.level if writer else 0.0,
                buffer.n_waiting / SAMPLE_RATE,
                buffer.current.gaps,
                buffer.latest.first_write_at,
            )

    def gaps_heard(self, rtf: float | None = None) -> GapsHeard | None:
        """The gaps of entries heard since the last call; None when there were none."""
        with self._changed:
            gaps = self._buffer.take_finished_gaps()
        return gaps.heard(rtf)

    def close(self) -> None:
        """Drop what was not heard and let the device go; silent from then on. Twice is fine."""
        self._closed = True
        self._stop()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def _is_silent(self) -> bool:
        writer = self._writer
        failed = writer is not None and (writer.failure or not writer.thread.is_alive())
        return self._device == OFF or self._closed or bool(failed)

    @property
    def _is_heard(self) -> bool:
        playing = self._writer is not None and self._writer.is_playing
        return self._is_silent or not (playing or self._buffer.is_pending)

    def _state(self) -> State:
        if self._is_silent:
            return "off"
        if self._buffer.is_pending and not self._buffer.is_ready:
            return "buffering"
        if self._writer and self._writer.is_playing:
            return "buffering" if self._buffer.is_in_gap else "playing"
        return "buffering" if self._buffer.is_pending else "idle"

    def _start(self) -> None:
        if not self._suspended:
            self._started()

    def _started(self) -> Writer:
        if self._writer is None:
            self._writer = Writer(
                self._buffer,
                self._changed,
                self._opened,
                self._say_lost,
                self._latency_s,
                self._idle_s,
            )
            self._writer.thread.start()
        return self._writer

    def _opened(self) -> OutputStream:
        refresh, self._refresh = self._refresh, False
        return self._open_stream(self._device, self._latency_s, refresh)

    def _stop(self) -> None:
        with self._changed:
            self._buffer.cancel()
            writer = self._writer
            if writer is None:
                return
            writer.quit()
        writer.thread.join(CLOSING_S)

    def _look(self) -> None:
        """Whether the device still answers."""
        with self._changed:
            writer = self._writer
            if not writer or writer.failure or not writer.watchdog.is_stuck(time.monotonic()):
                return
            error = _stuck(writer.name or self._device)
            writer.fail(error)
        self._say_lost(error)

    def _say_lost(self, error: DeviceError) -> None:
        self._tell(SoundLost(str(error)))


def _stuck(device: str) -> DeviceError:
    return DeviceError(f'audio device "{device}" does not answer')
