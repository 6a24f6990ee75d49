import signal
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from csm_chat.audio.clips import read_clip
from csm_chat.audio.sinks import WavSink
from csm_chat.errors import TakeError
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE, Pcm


def noise(n: int, seed: int = 0) -> Pcm:
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


def test_the_file_holds_what_was_written_in_order(tmp_path: Path) -> None:
    pcm = noise(10_007)
    with WavSink(tmp_path / "a.wav") as sink:
        for block in np.split(pcm, [0, 1, 1921, 1921, 5000]):
            sink.write(block)
        path = sink.finish()
    assert path == tmp_path / "a.wav"
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    np.testing.assert_allclose(read_clip(path).pcm, pcm, atol=2**-14)
    with wave.open(str(path)) as file:
        assert file.getparams()[:4] == (1, 2, SAMPLE_RATE, 10_007)


def test_samples_beyond_full_scale_are_clipped_not_wrapped(tmp_path: Path) -> None:
    with WavSink(tmp_path / "a.wav") as sink:
        sink.write(np.array([2.0, -2.0], np.float32))
        pcm = read_clip(sink.finish()).pcm
    np.testing.assert_allclose(pcm, [1, -1], atol=1e-4)


def test_after_every_write_the_temporary_file_is_a_whole_wav(tmp_path: Path) -> None:
    with WavSink(tmp_path / "a.wav") as sink:
        for n_blocks in range(1, 4):
            sink.write(noise(FRAME_SAMPLES))
            with wave.open(str(tmp_path / "a.wav.part")) as file:
                assert file.getnframes() == n_blocks * FRAME_SAMPLES
                assert len(file.readframes(10**6)) == 2 * n_blocks * FRAME_SAMPLES
        assert not (tmp_path / "a.wav").exists()


def test_finish_can_mark_the_name(tmp_path: Path) -> None:
    with WavSink(tmp_path / "009-ana.wav") as sink:
        sink.write(noise(10))
        assert sink.finish(".cut") == tmp_path / "009-ana.cut.wav"


def test_a_name_taken_meanwhile_is_left_alone_and_the_next_one_used(tmp_path: Path) -> None:
    with WavSink(tmp_path / "a.wav") as sink:
        sink.write(noise(10))
        (tmp_path / "a.wav").write_bytes(b"mine")
        (tmp_path / "a-2.wav").write_bytes(b"mine too")
        assert sink.finish() == tmp_path / "a-3.wav"
    assert (tmp_path / "a.wav").read_bytes() == b"mine"
    assert (tmp_path / "a-2.wav").read_bytes() == b"mine too"


def test_two_sinks_of_one_name_do_not_share_a_file(tmp_path: Path) -> None:
    with WavSink(tmp_path / "a.wav") as one, WavSink(tmp_path / "a.wav") as two:
        one.write(np.full(10, 0.25, np.float32))
        two.write(np.full(20, 0.5, np.float32))
        paths = [one.finish(), two.finish()]
    assert [path.name for path in paths] == ["a.wav", "a-2.wav"]
    assert [len(read_clip(path).pcm) for path in paths] == [10, 20]


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    with WavSink(tmp_path / "a.wav") as sink:
        sink.write(noise(10))
        sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_abandoned_take_stays_playable_under_its_temporary_name(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), WavSink(tmp_path / "a.wav") as sink:
        sink.write(noise(100))
        raise KeyboardInterrupt
    with wave.open(str(tmp_path / "a.wav.part")) as file:
        assert file.getnframes() == 100


def test_cancel_keeps_what_was_said(tmp_path: Path) -> None:
    with WavSink(tmp_path / "a.wav") as sink:
        sink.write(noise(10))
        sink.cancel()
        assert len(read_clip(sink.finish(".cut")).pcm) == 10


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_cannot_take_files_is_told_in_the_systems_words(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TakeError) as caught:
        WavSink(tmp_path / folder / "a.wav")
    assert "a.wav" in str(caught.value)
    assert ("No such file" in str(caught.value)) or ("Not a directory" in str(caught.value))


@pytest.fixture
def small_disk() -> Iterator[int]:
    """Files end at 20 kB: a write beyond fails as on a full disk, with EFBIG for ENOSPC."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield 20_000
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_said_once_and_leaves_a_playable_part(tmp_path: Path) -> None:
    with WavSink(tmp_path / "a.wav") as sink:
        for _ in range(5):
            sink.write(noise(FRAME_SAMPLES))
        with pytest.raises(TakeError, match="File too large"):
            sink.write(noise(FRAME_SAMPLES))
        sink.write(noise(FRAME_SAMPLES))
        with pytest.raises(TakeError, match="File too large"):
            sink.finish()
    with wave.open(str(tmp_path / "a.wav.part")) as file:
        assert file.getnframes() == 5 * FRAME_SAMPLES
