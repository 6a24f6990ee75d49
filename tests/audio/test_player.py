import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from csm_chat.audio.play_buffer import FADE_SAMPLES, Gaps
from csm_chat.audio.player import Player
from csm_chat.errors import DeviceError
from csm_chat.repl.wording import PROMPT
from csm_chat.types import SAMPLE_RATE, Pcm, Sink
from csm_chat.wording import lines_to, words

TESTS = Path(__file__).parents[1]


def sound(seconds: float, seed: int = 0) -> Pcm:
    """Noise without a zero, so that silence put in between can be told apart."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * SAMPLE_RATE)
    signs = rng.choice([-1.0, 1.0], n_samples)
    return (rng.uniform(0.1, 0.9, n_samples) * signs).astype(np.float32)


def eventually(condition: Callable[[], object], within_s: float = 2.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


class FakeStream:
    """A device that takes everything at once, and can be told to fail, to hang or to run dry."""

    name = "Fake"
    rate = SAMPLE_RATE
    latency_s = 0.05

    def __init__(self) -> None:
        self.blocks: list[Pcm] = []
        self.calls: list[str] = []
        self.answers = threading.Event()  # cleared: writes hang
        self.answers.set()
        self.is_lost = False
        self.dry_writes: set[int] = set()

    @property
    def heard(self) -> Pcm:
        return np.concatenate([np.zeros(0, np.float32), *self.blocks])

    def open(self, device: str, latency_s: float, refresh: bool) -> "FakeStream":
        self.calls.append(f"open {device}" + " refresh" * refresh)
        return self

    def start(self) -> None:
        self.calls.append("start")

    def write(self, pcm: Pcm) -> bool:
        self.answers.wait()
        if self.is_lost:
            raise DeviceError("Unanticipated host error")
        self.blocks.append(pcm.copy())
        return len(self.blocks) in self.dry_writes

    def stop(self) -> None:
        self.calls.append("stop")

    def abort(self) -> None:
        self.calls.append("abort")

    def close(self) -> None:
        self.calls.append("close")


def no_device(device: str, latency_s: float, refresh: bool) -> FakeStream:
    raise DeviceError("no output device found (PortAudio sees 0)")


def player_on(stream: FakeStream, notes: list[str] | None = None, **options: float) -> Player:
    said = [] if notes is None else notes
    return Player("fake", 0.05, lines_to(said.append, PROMPT), open_stream=stream.open, **options)


def say(player: Player, pcm: Pcm, prebuffer_s: float = 0.1) -> None:
    player.begin(prebuffer_s)
    player.write(pcm)
    player.end()


def test_player_is_a_sink_and_ends_with_the_last_sample() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        sink: Sink = player
        player.begin(0.1)
        sink.write(sound(0.25))
        sink.drain()
        assert player.status().state == "idle"
    np.testing.assert_array_equal(stream.heard[: len(sound(0.25))], sound(0.25))
    assert not stream.heard[len(sound(0.25)) :].any()
    assert stream.calls == ["open fake", "start", "stop", "close"]


def test_nothing_is_opened_before_the_first_entry() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        assert player.status().state == "idle"
        player.drain()
    assert stream.calls == []


def test_a_device_without_a_clock_is_fed_in_real_time() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        start = time.monotonic()
        say(player, sound(0.5))
        player.drain()
        took_s = time.monotonic() - start
    assert 0.5 <= took_s < 1.0


def test_states_from_begin_to_the_end() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        player.begin(0.2)
        player.write(sound(0.1))
        status = player.status()
        assert (status.state, status.buffered_s) == ("buffering", pytest.approx(0.1))
        assert status.first_write_at is None
        player.write(sound(0.3))
        assert eventually(lambda: player.status().level > 0)
        status = player.status()
        assert (status.state, status.device, status.rate) == ("playing", "Fake", SAMPLE_RATE)
        assert 0.8 < status.level <= 0.9
        assert status.first_write_at is not None
        assert 0 <= time.monotonic() - status.first_write_at < 1
        player.drain()
        assert player.status().state == "idle"
        assert player.status().level == 0
        assert player.status().first_write_at == status.first_write_at


def test_entries_join_and_the_stream_is_kept_between_them() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        say(player, sound(0.11, seed=1))
        say(player, sound(0.07, seed=2))
        player.drain()
        joined = np.concatenate([sound(0.11, seed=1), sound(0.07, seed=2)])
        np.testing.assert_array_equal(stream.heard[: len(joined)], joined)
        say(player, sound(0.1, seed=3))
        player.drain()
    assert stream.calls == ["open fake", "start", "stop", "start", "stop", "close"]


def test_an_idle_device_is_let_go_and_opened_again() -> None:
    stream = FakeStream()
    with player_on(stream, idle_s=0.05) as player:
        for _ in range(2):
            say(player, sound(0.05))
            player.drain()
            assert eventually(lambda: player.status().rate == 0)
    assert stream.calls == ["open fake", "start", "stop", "close"] * 2


def test_cancel_is_quiet_within_200_ms_and_the_player_usable_again() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        say(player, sound(30.0))
        assert eventually(lambda: len(stream.blocks) > 2)
        start = time.monotonic()
        player.cancel()
        assert eventually(lambda: "abort" in stream.calls, 0.2)
        player.drain()
        assert time.monotonic() - start < 0.2
        n_blocks = len(stream.blocks)
        player.write(sound(1.0))  # the generator's last frame, too late
        player.end()
        player.drain()
        assert len(stream.blocks) == n_blocks
        say(player, sound(0.1, seed=1))
        player.drain()
        after = np.concatenate(stream.blocks[n_blocks:])
        np.testing.assert_array_equal(after[: len(sound(0.1))], sound(0.1, seed=1))


def test_cancel_while_collecting_is_heard_by_nobody() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        player.begin(float("inf"))
        player.write(sound(1.0))
        player.cancel()
        player.drain()
        assert player.status().state == "idle"
    assert stream.blocks == []


def test_a_slow_model_is_counted_and_loses_nothing() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        player.begin(0)
        player.write(sound(0.1, seed=1))
        assert eventually(lambda: player.status().gaps.n_starved == 1)
        assert player.status().state == "buffering"
        player.write(sound(0.2, seed=2))
        player.drain()
        gaps = player.status().gaps
        note = player.gaps_heard(1.5)
        assert player.gaps_heard() is None
    assert gaps.n_starved == 1
    assert gaps.starved_s > 0
    assert note is not None
    assert words(note).startswith("1 gap, ")
    spoken = stream.heard[stream.heard != 0]
    pcm = np.concatenate([sound(0.1, seed=1), sound(0.2, seed=2)])
    assert len(spoken) == len(pcm)
    assert np.count_nonzero(spoken != pcm) <= 2 * FADE_SAMPLES


def test_a_device_that_runs_dry_is_counted_apart_but_not_at_its_start() -> None:
    stream = FakeStream()
    stream.dry_writes = {1, 3}
    with player_on(stream) as player:
        say(player, sound(0.3))
        player.drain()
        assert player.status().gaps == Gaps(n_device_underruns=1)
        heard = player.gaps_heard()
        assert heard and words(heard) == (
            "1 device underrun (machine too busy; a larger audio.latency_s helps)"
        )


def test_gaps_of_entries_heard_meanwhile_are_told_together() -> None:
    stream = FakeStream()
    stream.dry_writes = {2, 7}
    with player_on(stream) as player:
        say(player, sound(0.2))
        say(player, sound(0.2))
        player.drain()
        assert player.status().gaps == Gaps(n_device_underruns=1)
        heard = player.gaps_heard()
        assert heard and words(heard).startswith("2 device underruns")


def test_a_lost_device_is_said_once_and_everything_goes_on_without_sound() -> None:
    stream, notes = FakeStream(), list[str]()
    with player_on(stream, notes) as player:
        say(player, sound(5.0))
        assert eventually(lambda: stream.blocks)
        stream.is_lost = True
        player.drain()
        assert player.status().state == "off"
        say(player, sound(5.0))
        player.drain()
        assert player.status().buffered_s == 0
    assert notes == [
        'audio device "Fake" went away (Unanticipated host error); '
        "going on without sound, $AUDIO$ connects again"
    ]
    assert stream.calls[-1] == "close"


def test_reopening_looks_for_devices_anew_and_plays_again() -> None:
    stream, notes = FakeStream(), list[str]()
    with player_on(stream, notes) as player:
        say(player, sound(5.0))
        stream.is_lost = True
        player.drain()
        stream.is_lost = False
        stream.blocks.clear()
        player.reopen()
        say(player, sound(0.1))
        player.drain()
        np.testing.assert_array_equal(stream.heard[: len(sound(0.1))], sound(0.1))
        player.reopen("other")
        assert stream.calls[-1] == "open other refresh"
        player.reopen()
        assert stream.calls[-1] == "open fake refresh"
        player.reopen("off")
        assert player.status().state == "off"
    assert len(notes) == 1


def test_a_device_that_does_not_answer_is_given_up_after_two_seconds() -> None:
    stream, notes = FakeStream(), list[str]()
    with player_on(stream, notes) as player:
        say(player, sound(5.0))
        stream.answers.clear()
        start = time.monotonic()
        player.drain()
        assert 1.5 < time.monotonic() - start < 4
        assert player.status().state == "off"
        assert notes == [
            'audio device "Fake" does not answer; going on without sound, $AUDIO$ connects again'
        ]
        stream.answers.set()  # the thread comes back, finds itself given up and leaves
        assert eventually(lambda: stream.calls[-1] == "close")
        player.reopen()
        assert player.status().state == "idle"
    assert len(notes) == 1


def test_reopening_while_the_device_hangs_is_refused() -> None:
    stream = FakeStream()
    stream.answers.clear()
    player = player_on(stream)
    say(player, sound(5.0))
    assert eventually(lambda: "start" in stream.calls)
    with pytest.raises(DeviceError, match="restart the program"):
        player.reopen()
    say(player, sound(5.0))
    player.drain()
    assert player.status().state == "off"
    stream.answers.set()
    player.close()


@pytest.mark.parametrize("device", ["off", "default"])
def test_without_a_device_everything_is_taken_and_drained_at_once(device: str) -> None:
    notes: list[str] = []
    with Player(device, tell=lines_to(notes.append, PROMPT), open_stream=no_device) as player:
        start = time.monotonic()
        say(player, sound(5.0))
        player.drain()
        player.cancel()
        assert time.monotonic() - start < 0.5
        status = player.status()
        assert (status.state, status.buffered_s, status.rate) == ("off", 0, 0)
        assert player.gaps_heard() is None
    assert notes == ([] if device == "off" else [f"{NO_DEVICE}; {GOING_ON}"])


NO_DEVICE = "no output device found (PortAudio sees 0)"
GOING_ON = "going on without sound, $AUDIO$ connects again"


def test_opening_tells_the_caller_instead_of_the_notes() -> None:
    notes: list[str] = []
    with Player(tell=lines_to(notes.append, PROMPT), open_stream=no_device) as player:
        for _ in range(2):
            with pytest.raises(DeviceError, match="PortAudio sees 0"):
                player.open()
        say(player, sound(0.1))
        player.drain()
        assert player.status().state == "off"
    assert notes == []


def test_opening_twice_opens_once() -> None:
    stream = FakeStream()
    with player_on(stream) as player:
        player.open()
        player.open()
        assert player.status().rate == SAMPLE_RATE
    assert stream.calls == ["open fake", "close"]


def test_closing_drops_the_rest_ends_the_thread_and_may_be_repeated() -> None:
    stream = FakeStream()
    threads = set(threading.enumerate())
    player = player_on(stream)
    say(player, sound(30.0))
    assert eventually(lambda: stream.blocks)
    start = time.monotonic()
    player.close()
    player.close()
    assert time.monotonic() - start < 0.5
    assert stream.calls[-2:] == ["abort", "close"]
    assert set(threading.enumerate()) <= threads
    say(player, sound(0.1))
    player.drain()


# From here on: the real sounddevice and PortAudio, onto an ALSA device that records what it gets.

real_path = pytest.mark.skipif(
    sys.platform != "linux" or find_library("portaudio") is None,
    reason="needs ALSA and PortAudio",
)
PREAMBLE = """
import functools, json, sys, time
import numpy as np
from csm_chat.audio.device import devices, open_output
from csm_chat.audio.player import Player
from csm_chat.errors import DeviceError
from csm_chat.repl.wording import PROMPT
from csm_chat.wording import lines_to
from tests.audio.test_player import eventually, say, sound
"""


def run_on_alsa(folder: Path, config: str, script: str) -> str:
    """Run in a process of its own, as ALSA reads its configuration once; what it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(script)],
        cwd=folder,
        env={"ALSA_CONFIG_PATH": str(TESTS / config), "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nothing of PortAudio's may reach the terminal"
    return done.stdout.strip()


def captured(folder: Path) -> npt.NDArray[np.float32]:
    # ALSA calls them integers in the header; they are the floats it was given
    return np.fromfile(folder / "captured.wav", np.float32, offset=44)


@real_path
def test_alsa_gets_sample_for_sample_what_was_written(tmp_path: Path) -> None:
    out = run_on_alsa(
        tmp_path,
        "alsa-file.conf",
        """
        with Player() as player:
            player.open()
            say(player, sound(0.4, seed=1))
            say(player, sound(0.31, seed=2))
            player.drain()
            say(player, sound(0.2, seed=3))
            player.drain()
            status = player.status()
            sys.stdout.write(f"{status.device} {status.rate} {player.gaps_heard()}")
        """,
    )
    assert out == "default 24000 None"
    heard = captured(tmp_path)
    one, two, three = sound(0.4, seed=1), sound(0.31, seed=2), sound(0.2, seed=3)
    np.testing.assert_array_equal(heard[heard != 0], np.concatenate([one, two, three]))
    np.testing.assert_array_equal(heard[: len(one) + len(two)], np.concatenate([one, two]))
    silent_s = (np.flatnonzero(np.diff((heard == 0).astype(int)))[1:] / SAMPLE_RATE)[:1] - 0.71
    assert silent_s > 0.3  # the device's latency and more, before each stop


@real_path
def test_alsa_gaps_of_a_slow_model_lose_nothing(tmp_path: Path) -> None:
    out = run_on_alsa(
        tmp_path,
        "alsa-file.conf",
        """
        pcm = sound(1.2)
        with Player() as player:
            player.begin(0.16)
            for start in range(0, len(pcm), 1920):
                time.sleep(0.12)
                player.write(pcm[start : start + 1920])
            player.drain()
            gaps = player.status().gaps
            sys.stdout.write(json.dumps([gaps.n_starved, gaps.starved_s]))
        """,
    )
    n_starved, starved_s = json.loads(out)
    heard, pcm = captured(tmp_path), sound(1.2)
    words = heard[heard != 0]
    assert n_starved >= 1
    assert len(words) == len(pcm)
    faded = words != pcm
    assert 0 < np.count_nonzero(faded) <= 2 * FADE_SAMPLES * n_starved
    ratio = words[faded] / pcm[faded]
    assert ratio.min() > 0
    assert ratio.max() < 1
    assert (len(heard) - len(pcm)) / SAMPLE_RATE - starved_s == pytest.approx(0.3, abs=0.06)


@real_path
def test_alsa_is_quiet_after_cancel_and_plays_again(tmp_path: Path) -> None:
    out = run_on_alsa(
        tmp_path,
        "alsa-file.conf",
        """
        with Player() as player:
            say(player, sound(20.0, seed=1))
            eventually(lambda: player.status().first_write_at)
            time.sleep(0.2)
            start = time.monotonic()
            player.cancel()
            quiet = eventually(lambda: player.status().state == "idle", 0.2)
            sys.stdout.write(f"{quiet} {time.monotonic() - start < 0.2}")
            say(player, sound(0.2, seed=2))
            player.drain()
        """,
    )
    assert out == "True True"
    heard = captured(tmp_path)
    words, again = heard[heard != 0], sound(0.2, seed=2)
    np.testing.assert_array_equal(words[-len(again) :], again)
    cut = len(words) - len(again)
    assert cut < 1.5 * SAMPLE_RATE
    np.testing.assert_array_equal(words[:cut], sound(20.0, seed=1)[:cut])


@real_path
def test_alsa_at_another_rate_gets_one_continuous_resampled_stream(tmp_path: Path) -> None:
    out = run_on_alsa(
        tmp_path,
        "alsa-file.conf",
        """
        with Player(open_stream=functools.partial(open_output, rates=(44_100,))) as player:
            say(player, sound(0.4, seed=1))
            say(player, sound(0.3, seed=2))
            player.drain()
            sys.stdout.write(str(player.status().rate))
        """,
    )
    import soxr

    assert out == "44100"
    heard = captured(tmp_path)
    pcm = np.concatenate([sound(0.4, seed=1), sound(0.3, seed=2), np.zeros(4800, np.float32)])
    whole = soxr.resample(pcm, SAMPLE_RATE, 44_100)
    np.testing.assert_allclose(heard[: int(0.8 * 44_100)], whole[: int(0.8 * 44_100)], atol=1e-4)


@real_path
def test_alsa_reopens_after_another_search(tmp_path: Path) -> None:
    out = run_on_alsa(
        tmp_path,
        "alsa-file.conf",
        """
        with Player("DEFAULT") as player:
            say(player, sound(0.1, seed=1))
            player.drain()
            player.reopen("0")
            say(player, sound(0.1, seed=2))
            player.drain()
            try:
                player.reopen("bluetooth")
            except DeviceError as error:
                sys.stdout.write(str(error))
            say(player, sound(0.1, seed=3))
            player.drain()
            player.reopen()
            say(player, sound(0.1, seed=4))
            player.drain()
        """,
    )
    assert out == 'no output device "bluetooth"; there are: 0 default (ALSA)'
    heard = captured(tmp_path)  # a file a stream: the last one's
    np.testing.assert_array_equal(heard[heard != 0], sound(0.1, seed=4))


@real_path
def test_without_any_device_the_player_is_off_and_says_why(tmp_path: Path) -> None:
    out = run_on_alsa(
        tmp_path,
        "alsa-null.conf",
        """
        with Player(tell=lines_to(sys.stdout.write, PROMPT)) as player:
            say(player, sound(3.0))
            player.drain()
            sys.stdout.write(f" | {player.status().state} {devices()}")
        """,
    )
    assert out.startswith("no output device found (PortAudio sees 0): ")
    assert out.endswith("connects again | off []")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the wheel brings PortAudio")
def test_without_portaudio_the_player_says_what_to_install(tmp_path: Path) -> None:
    out = run_on_alsa(
        tmp_path,
        "alsa-null.conf",
        """
        import ctypes.util
        ctypes.util.find_library = lambda name: None  # as on a machine without the library
        with Player() as player:
            try:
                player.open()
            except DeviceError as error:
                sys.stdout.write(str(error))
        """,
    )
    assert "PortAudio library not found" in out
    assert "sudo apt install libportaudio2" in out


def test_while_suspended_the_device_is_others_and_the_rest_is_heard_after() -> None:
    stream = FakeStream()
    with Player(open_stream=stream.open) as player:
        pcm = sound(2.0)
        player.begin(0.0)
        player.write(pcm[:SAMPLE_RATE])
        assert eventually(lambda: len(stream.heard))
        player.suspend()
        assert stream.calls[-1] == "close"
        n_calls, n_heard = len(stream.calls), len(stream.heard)
        player.write(pcm[SAMPLE_RATE:])
        player.end()
        time.sleep(0.1)
        assert (len(stream.calls), len(stream.heard)) == (n_calls, n_heard)
        assert n_heard < len(pcm)
        player.resume()
        player.drain()
        heard = stream.heard
        assert np.array_equal(heard[heard != 0][-SAMPLE_RATE // 2 :], pcm[-SAMPLE_RATE // 2 :])
        assert stream.calls.count("open default") == 2


def test_a_silent_player_is_suspended_and_resumed_in_silence() -> None:
    player = Player("off")
    player.suspend()
    player.write(sound(0.1))
    player.resume()
    assert player.status().state == "off"
