"""The thread that owns the output device."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from csm_chat.audio.device import OutputStream
from csm_chat.audio.play_buffer import BLOCK_SAMPLES, PlayBuffer
from csm_chat.errors import DeviceError
from csm_chat.types import SAMPLE_RATE, Pcm

log = logging.getLogger(__name__)

TAIL_S = 0.1  # beyond the device's latency, because ALSA's stop drops what the device still holds
STUCK_S = 2.0  # a write that takes longer has lost its device
OPENING_S = 15.0  # a Bluetooth device may have to wake up
LOOK_S = 0.5
DRIFT = 1e-3  # how much faster than ours a device's clock may run


class Watchdog:
    """Tells a call that does not return. One thread makes the calls, others look."""

    def __init__(self) -> None:
        self._n_calls = 0
        self._limit_s: float | None = None  # of the call being made
        self._seen = 0
        self._seen_for_s = 0.0
        self._last_look = 0.0

    @contextlib.contextmanager
    def call(self, limit_s: float) -> Iterator[None]:
        self._n_calls += 1
        self._limit_s = limit_s
        try:
            yield
        finally:
            self._limit_s = None

    def is_stuck(self, now: float) -> bool:
        """Whether the same call was seen for longer than its limit.

        Time counts from look to look and at most LOOK_S each, so that a process that was stopped
        and continued (Ctrl-Z, a debugger) does not find its device lost.
        """
        limit_s, n_calls = self._limit_s, self._n_calls
        if limit_s is None or n_calls != self._seen:
            self._seen, self._seen_for_s = n_calls, 0.0
        else:
            self._seen_for_s += min(now - self._last_look, LOOK_S)
        self._last_look = now
        return limit_s is not None and self._seen_for_s > limit_s


class Lead:
    """How far ahead of what is heard the samples written are, by our own clock."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._written_s = 0.0

    def at(self, now: float) -> float:
        lead_s = self._written_s - (now - self._since)
        if lead_s < 0:  # the device ran dry: it starts anew with the next samples
            self._since, self._written_s = now, 0.0
        return max(0.0, lead_s)

    def drift_s(self, now: float) -> float:
        return DRIFT * (now - self._since)

    def wrote(self, n_samples: int) -> None:
        self._written_s += n_samples / SAMPLE_RATE


class Writer:
    """Plays a buffer on a device until told to quit or the device fails. `changed` guards all."""

    def __init__(
        self,
        buffer: PlayBuffer,
        changed: threading.Condition,
        open_stream: Callable[[], OutputStream],
        on_failure: Callable[[DeviceError], None],
        latency_s: float,
        idle_s: float,
    ) -> None:
        self.name = ""  # of the device, once it was open
        self.rate = 0  # Hz; 0 while it is closed
        self.level = 0.0  # peak of the block last written
        self.is_playing = False
        self._open_asked = False  # somebody waits for the device and for `failure`
        self._abort_asked = False
        self._quit_asked = False
        self.failure: DeviceError | None = None
        self.watchdog = Watchdog()
        self._buffer = buffer
        self._changed = changed
        self._open_stream = open_stream
        self._on_failure = on_failure
        self._latency_s = latency_s
        self._idle_s = idle_s
        self.thread = threading.Thread(target=self._run, name="audio", daemon=True)

    # with `changed` held, from any thread

    def open(self) -> None:
        """Open the device now; `rate` or `failure` tells that it was tried."""
        self._open_asked = not self.rate
        self._changed.notify_all()

    def abort(self) -> None:
        """Drop what the device holds of what is being played."""
        self._abort_asked = self.is_playing
        self._changed.notify_all()

    def quit(self) -> None:
        """Let the device go and end the thread."""
        self._quit_asked = True
        self._changed.notify_all()

    def fail(self, error: DeviceError) -> None:
        """Give up sound for good."""
        self.failure = error
        self._quit_asked = True
        self.is_playing = False
        self.rate = 0
        self.level = 0.0
        self._buffer.cancel()
        self._changed.notify_all()

    def _run(self) -> None:
        with contextlib.ExitStack() as opened:
            try:
                self._serve(opened)
            except DeviceError as error:
                log.debug("audio stops", exc_info=True)
                with self._changed:
                    told = self._open_asked or self.failure is not None
                    self.fail(error)
                if not told:
                    self._on_failure(error)

    def _serve(self, opened: contextlib.ExitStack) -> None:
        stream: OutputStream | None = None
        while True:
            with self._changed:
                due = self._changed.wait_for(self._is_due, self._idle_s if stream else None)
                if self._quit_asked:
                    return
                self.is_playing = self._buffer.is_ready
            if not due:
                # so that a Bluetooth device can sleep and other programs can have this one
                opened.close()
                stream, self.rate = None, 0
                continue
            if stream is None:
                stream = self._opened()
                opened.callback(stream.close)
            if self.is_playing:
                self._play(stream)

    def _is_due(self) -> bool:
        return self._quit_asked or self._open_asked or self._buffer.is_ready

    def _opened(self) -> OutputStream:
        with self.watchdog.call(OPENING_S):
            stream = self._open_stream()
        with self._changed:
            self.name, self.rate, self._open_asked = stream.name, stream.rate, False
            self._changed.notify_all()
        return stream

    def _play(self, stream: OutputStream) -> None:
        try:
            with self.watchdog.call(STUCK_S):
                stream.start()
            self._write_blocks(stream)
            with self.watchdog.call(STUCK_S):
                if self._abort_asked or self._quit_asked:
                    stream.abort()
                else:
                    stream.stop()
        except DeviceError as error:
            raise DeviceError(f'audio device "{stream.name}" went away ({error})') from error
        finally:
            with self._changed:
                self.is_playing = self._abort_asked = False
                self.level = 0.0
                self._changed.notify_all()

    def _write_blocks(self, stream: OutputStream) -> None:
        latency_s = max(self._latency_s, stream.latency_s)
        lead = Lead(time.monotonic())
        is_first = True  # a device reports that it had nothing before
        while (block := self._next_block(lead, latency_s)) is not None:
            with self.watchdog.call(STUCK_S):
                ran_dry = stream.write(block)
            lead.wrote(len(block))
            with self._changed:
                self.level = float(np.abs(block).max())
                if ran_dry and not is_first:
                    self._buffer.count_underrun()
            is_first = False

    def _next_block(self, lead: Lead, latency_s: float) -> Pcm | None:
        with self._changed:
            while not (self._abort_asked or self._quit_asked):
                now = time.monotonic()
                # a device without a clock (a null device, a broken loopback) would take all at once
                most_s = latency_s + 2 * BLOCK_SAMPLES / SAMPLE_RATE + lead.drift_s(now)
                wait_s = lead.at(now) - most_s
                if wait_s <= 0:
                    step = self._buffer.next(now, lead.at(now), latency_s + TAIL_S)
                    if not step.wait_s:
                        return step.block
                    wait_s = step.wait_s
                self._changed.wait(wait_s)
        return None
