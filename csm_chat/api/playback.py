"""What the API says, heard while it is made. Without a device it is silent."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from csm_chat.assemble import open_player
from csm_chat.audio.play_buffer import prebuffer_s
from csm_chat.config.settings import AudioConfig
from csm_chat.notices import Notice, SoundOpened
from csm_chat.types import FRAME_MS, Pcm
from csm_chat.wording import words

if TYPE_CHECKING:
    from csm_chat.audio.player import Player

log = logging.getLogger(__name__)


def log_sound(notice: Notice) -> None:
    """A warning where there is no sound; that there is some is nothing to log."""
    if not isinstance(notice, SoundOpened):
        log.warning(words(notice))


class Playback:
    """A player that is opened at first use and let go with this, or at the end of the program."""

    def __init__(self, audio: AudioConfig) -> None:
        self._audio = audio
        self._player: Player | None = None

    @contextmanager
    def of(self, expected_s: float, rtf: float | None) -> Iterator[Callable[[Pcm], None]]:
        """Plays what it is given, so many seconds made at that speed, and waits until it was heard.

        An error inside, Ctrl-C among them, cuts it off.
        """
        player = self._opened()
        player.begin(prebuffer_s(expected_s, rtf, self._audio.start))
        with ExitStack() as on_failure:
            on_failure.callback(player.cancel)
            yield player.write
            player.drain()
            on_failure.pop_all()

    def _opened(self) -> Player:
        if self._player is None:
            self._player = open_player(self._audio, log_sound)
            weakref.finalize(self, self._player.close)
        return self._player


class Speed:
    """How quickly takes come, without what their receiver does meanwhile."""

    rtf: float | None = None  # compute time over audio time of the last take

    def measured(self, take: Iterable[Pcm]) -> Iterator[Pcm]:
        """Frames of a take, as they come."""
        seconds: list[float] = []
        started = time.perf_counter()
        for pcm in take:
            seconds.append(time.perf_counter() - started)
            yield pcm
            started = time.perf_counter()
        running = seconds[1:]  # the first frame pays for the prompt
        if running:
            self.rtf = sum(running) / (len(running) * FRAME_MS / 1000)
