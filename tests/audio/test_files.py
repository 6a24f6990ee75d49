import os
import stat
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from csm_chat.audio.clips import clip_blocks, read_clip, resample, trim_silence
from csm_chat.audio.files import create_free, move_exclusive, write_clip
from csm_chat.errors import AudioError, TakeError
from csm_chat.types import SAMPLE_RATE


def tone(seconds: float, rate: int = SAMPLE_RATE, hz: float = 440.0) -> npt.NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def silence(seconds: float) -> npt.NDArray[np.float32]:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_any_rate_becomes_24_khz_and_keeps_the_sound(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, rate), rate, subtype="FLOAT")
    clip = read_clip(tmp_path / "a.wav")
    assert (clip.source_rate, clip.source_channels, clip.seconds) == (rate, 1, 1.0)
    assert clip.pcm.dtype == np.float32
    assert clip.pcm.shape == (SAMPLE_RATE,)
    middle = slice(1200, -1200)  # a filter rings at hard edges
    np.testing.assert_allclose(clip.pcm[middle], tone(1.0)[middle], atol=2e-3)


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_blocks_put_together_are_the_clip(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", 2 * tone(9.0, rate), rate, subtype="FLOAT")
    blocks = list(clip_blocks(tmp_path / "a.wav"))
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), read_clip(tmp_path / "a.wav").pcm)


def test_blocks_of_what_is_no_sound_are_refused_as_the_clip_is(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", tone(0.0), SAMPLE_RATE)
    nan = np.where(np.arange(SAMPLE_RATE) < 9, np.nan, tone(1.0))
    soundfile.write(tmp_path / "nan.wav", nan, SAMPLE_RATE, subtype="FLOAT")
    for name, words in {"empty": "no samples", "nan": "not numbers", "gone": "opened"}.items():
        for read in (read_clip, lambda path: list(clip_blocks(path))):
            with pytest.raises(AudioError, match=f"{name}.wav: .*{words}"):
                read(tmp_path / f"{name}.wav")


def test_24_khz_float_comes_through_bit_for_bit(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.3), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_clip(tmp_path / "a.wav").pcm, tone(0.3))


def test_channels_are_averaged(tmp_path: Path) -> None:
    six = np.stack([tone(0.1) * k / 3 for k in range(6)], axis=1)
    soundfile.write(tmp_path / "a.wav", six, SAMPLE_RATE, subtype="FLOAT")
    clip = read_clip(tmp_path / "a.wav")
    assert clip.source_channels == 6
    np.testing.assert_allclose(clip.pcm, tone(0.1) * 2.5 / 3, atol=1e-6)


def test_clipped_share_counts_source_samples_at_full_scale(tmp_path: Path) -> None:
    pcm = silence(0.1)
    pcm[:240], pcm[240:480] = 1.0, -1.0
    soundfile.write(tmp_path / "a.wav", np.stack([pcm, 0 * pcm], axis=1), SAMPLE_RATE)
    assert read_clip(tmp_path / "a.wav").clipped_share == pytest.approx(480 / 4800)
    soundfile.write(tmp_path / "b.wav", pcm * 0.9, SAMPLE_RATE)
    assert read_clip(tmp_path / "b.wav").clipped_share == 0


def test_samples_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.1) * 4, SAMPLE_RATE, subtype="FLOAT")
    pcm = read_clip(tmp_path / "a.wav").pcm
    assert (pcm.min(), pcm.max()) == (-1, 1)


def test_long_clips_are_read_whole(tmp_path: Path) -> None:
    pcm = tone(7.3)  # over several reads
    soundfile.write(tmp_path / "a.flac", pcm, SAMPLE_RATE, subtype="PCM_24")
    np.testing.assert_allclose(read_clip(tmp_path / "a.flac").pcm, pcm, atol=2e-7)


def unreadable(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "text":
        path.write_text("this is a shopping list, " * 50)
    elif kind == "zero bytes":
        path.touch()
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0, np.float32), SAMPLE_RATE)
    elif kind == "folder":
        path.mkdir()
    elif kind == "half a header":
        soundfile.write(path, tone(0.1), SAMPLE_RATE)
        path.write_bytes(path.read_bytes()[:30])
    elif kind == "not a number":
        pcm = tone(0.1)
        pcm[7] = np.nan
        soundfile.write(path, pcm, SAMPLE_RATE, subtype="FLOAT")
    elif kind == "one sample a second":
        soundfile.write(path, tone(0.1), 1)
    elif kind == "headerless":
        path = path.with_suffix(".raw")
        path.write_bytes(bytes(1000))
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", 'libsndfile: "Format not recognised"'),
        ("zero bytes", 'libsndfile: "Format not recognised"'),
        ("no samples", "no samples"),
        ("folder", "folder"),
        ("half a header", "libsndfile"),
        ("not a number", "NaN"),
        ("one sample a second", "1 Hz"),
        ("headerless", "headerless"),
        ("missing", "No such file or directory"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_name_and_reason(
    tmp_path: Path, kind: str, words: str
) -> None:
    path = unreadable(tmp_path, kind)
    with pytest.raises(AudioError) as caught:
        read_clip(path)
    message = str(caught.value)
    assert path.name in message
    assert words in message
    assert "\n" not in message


@pytest.mark.skipif(os.name == "nt", reason="no named pipes in the file tree on Windows")
def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="regular file"):
        read_clip(tmp_path / "a.wav")


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg"])
def test_truncated_files_give_what_is_left_or_an_audio_error(tmp_path: Path, ending: str) -> None:
    whole = tmp_path / f"whole.{ending}"
    write_clip(whole, tone(1.0))
    data = whole.read_bytes()
    for k in range(20):
        path = tmp_path / f"{k}.{ending}"
        path.write_bytes(data[: len(data) * k // 20])
        try:
            clip = read_clip(path)
        except AudioError as error:
            assert path.name in str(error)
        else:
            assert 0 < len(clip.pcm) < 1.2 * SAMPLE_RATE
            assert np.abs(clip.pcm).max() < 0.7  # written: 0.5


def test_a_cut_mp3_is_as_long_as_what_can_be_read(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp3", tmp_path / "cut.mp3"
    write_clip(whole, tone(4.0))
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    assert 1.5 < read_clip(cut).seconds < 2.1


@pytest.mark.parametrize(("ending", "tolerance"), [("wav", 2**-15), ("flac", 2**-15)])
def test_lossless_formats_read_back_within_a_16_bit_step(
    tmp_path: Path, ending: str, tolerance: float
) -> None:
    path = tmp_path / f"a.{ending}"
    write_clip(path, tone(0.5))
    assert soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_allclose(read_clip(path).pcm, tone(0.5), atol=tolerance)


@pytest.mark.parametrize("ending", ["mp3", "ogg", "OGG"])
def test_lossy_formats_keep_rate_length_and_loudness(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    write_clip(path, tone(1.0))
    clip = read_clip(path)
    assert clip.source_rate == SAMPLE_RATE
    assert clip.seconds == pytest.approx(1.0, abs=0.1)
    assert np.sqrt(np.mean(clip.pcm**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_minutes_of_ogg_can_be_written(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.ogg", silence(200.0))
    assert soundfile.info(tmp_path / "a.ogg").frames == 200 * SAMPLE_RATE


def test_written_samples_beyond_full_scale_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", np.full(100, 1.5, np.float32))
    assert (read_clip(tmp_path / "a.wav").pcm > 0.99).all()


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"mine")
    with pytest.raises(TakeError, match="exists already"):
        write_clip(tmp_path / "a.wav", tone(0.1))
    assert (tmp_path / "a.wav").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.aac", "a", "a.txt"])
def test_unknown_endings_are_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(TakeError, match=r"\.wav, \.flac, \.mp3, \.ogg"):
        write_clip(tmp_path / name, tone(0.1))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told_in_the_systems_words(tmp_path: Path) -> None:
    with pytest.raises(TakeError, match="No such file or directory"):
        write_clip(tmp_path / "nowhere" / "a.wav", tone(0.1))


def test_written_files_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", tone(0.1))
    (tmp_path / "plain").touch()
    mode = stat.S_IMODE((tmp_path / "a.wav").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_exclusive_move_leaves_both_files_when_the_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        move_exclusive(tmp_path / "a", tmp_path / "b")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("a", "b")


def test_failed_move_leaves_no_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move_exclusive(tmp_path / "missing", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_created_files_take_the_next_free_name(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        path, file = create_free(tmp_path / "a.wav")
        file.close()
        names.append(path.name)
    assert names == ["a.wav", "a-2.wav", "a-3.wav"]


def test_resampling_at_equal_rates_changes_nothing() -> None:
    pcm = tone(0.1)
    assert resample(pcm, SAMPLE_RATE, SAMPLE_RATE) is pcm


def test_silent_ends_are_cut_down_to_a_margin() -> None:
    pcm = np.concatenate([silence(1.0), tone(0.6), silence(2.0)])
    trimmed, removed_s = trim_silence(pcm)
    assert len(trimmed) / SAMPLE_RATE == pytest.approx(0.6 + 2 * 0.06, abs=0.01)
    assert removed_s == pytest.approx(3.6 - len(trimmed) / SAMPLE_RATE)
    assert np.isin(tone(0.6), trimmed).all()


def test_long_pauses_are_shortened_and_short_ones_kept() -> None:
    words = [tone(0.4), silence(2.0), tone(0.4), silence(0.4), tone(0.4)]
    trimmed, removed_s = trim_silence(np.concatenate(words))
    assert removed_s == pytest.approx(1.5, abs=0.03)
    assert len(trimmed) / SAMPLE_RATE == pytest.approx(2.1, abs=0.03)
    assert np.count_nonzero(trimmed) == np.count_nonzero(np.concatenate(words))


def test_trimming_is_relative_to_the_clips_own_loudness() -> None:
    pcm = np.concatenate([silence(1.0), tone(0.6), silence(1.0)])
    noise = np.random.default_rng(0).normal(0, 1e-3, len(pcm)).astype(np.float32)
    for gain in (1.0, 0.01):
        _, removed_s = trim_silence((pcm + noise) * np.float32(gain))
        assert removed_s == pytest.approx(1.88, abs=0.05)


def test_speech_without_silence_is_left_alone() -> None:
    trimmed, removed_s = trim_silence(tone(1.234))
    np.testing.assert_array_equal(trimmed, tone(1.234))
    assert removed_s == 0


@pytest.mark.parametrize("pcm", [silence(2.0), silence(0)])
def test_silence_alone_comes_back_empty(pcm: npt.NDArray[np.float32]) -> None:
    trimmed, removed_s = trim_silence(pcm)
    assert len(trimmed) == 0
    assert removed_s == len(pcm) / SAMPLE_RATE


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_file_of_16_bits_stays_as_it_is_when_it_is_written_again(tmp_path, ending):
    pcm = np.linspace(-1.1, 1.1, 70_000, dtype=np.float32)
    write_clip(tmp_path / f"once.{ending}", pcm)
    once = read_clip(tmp_path / f"once.{ending}").pcm
    write_clip(tmp_path / f"twice.{ending}", once)
    assert np.array_equal(read_clip(tmp_path / f"twice.{ending}").pcm, once)
    assert np.abs(once - np.clip(pcm, -1, 1)).max() <= 2**-15


@pytest.mark.parametrize("share", [0, 0.5, 1.0])
@pytest.mark.parametrize("chunk_behind", [b"", b"LIST\x04\x00\x00\x00INFO"])
def test_a_wav_whose_header_says_too_little_is_read_to_its_end(
    tmp_path: Path, share: float, chunk_behind: bytes
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0), SAMPLE_RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    n_bytes = struct.unpack_from("<I", content, at)[0]
    struct.pack_into("<I", content, at, round(n_bytes * share) // 2 * 2)
    path.write_bytes(content + chunk_behind)
    if share == 1:
        clip = read_clip(path)
        assert clip.remark is None and len(clip.pcm) == SAMPLE_RATE
    elif not chunk_behind:
        clip = read_clip(path)
        assert clip.remark is not None and "read to its end" in clip.remark
        np.testing.assert_allclose(clip.pcm, tone(1.0), atol=2**-14)


def test_no_more_is_decoded_than_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(3.0), SAMPLE_RATE)
    clip = read_clip(path, 1.25)
    assert (clip.seconds, clip.is_whole) == (1.25, False)
    np.testing.assert_array_equal(clip.pcm, read_clip(path).pcm[: round(1.25 * SAMPLE_RATE)])
    assert read_clip(path, 3.0).is_whole and read_clip(path, 9.0).is_whole
