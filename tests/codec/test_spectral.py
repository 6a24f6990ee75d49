"""The spectral codec on tiny random weights."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from csm_chat.checkpoint.codec_files import SPECTRAL_CONFIG, SPECTRAL_WEIGHTS
from csm_chat.codec.load import load_codec
from csm_chat.codec.mimi import MimiCodec
from csm_chat.codec.spectral.blocks import Blocks
from csm_chat.codec.spectral.codec import SpectralCodec
from csm_chat.codec.spectral.nets import Decoder, overlapped
from csm_chat.codec.spectral.quantizer import Quantizer
from csm_chat.codec.spectral.shapes import tensor_shapes
from csm_chat.codec.spectral.sizes import HOP, WINDOW, Sizes, config_fields
from csm_chat.codec.spectral.source import phases, pulses
from csm_chat.errors import AudioError, CheckpointError
from csm_chat.types import FRAME_SAMPLES, SAMPLE_RATE
from tests.checkpoints import make_checkpoint

TINY = Sizes(
    entries=8,
    shares=(2, 4),
    said_width=4,
    listener_width=5,
    frame_width=16,
    frame_layers=1,
    width=12,
    slow_layers=1,
    step_layers=1,
)
RNG = np.random.default_rng(3)
CLIP = (RNG.standard_normal(5 * FRAME_SAMPLES + 7) * 0.1).astype(np.float32)
CODES = RNG.integers(TINY.entries, size=(7, TINY.codebooks)).astype(np.int32)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_codec(tmp_path_factory.mktemp("spectral"))


@pytest.fixture(scope="module")
def codec(folder):
    return load_codec(folder, TINY.codebooks)


@pytest.fixture(scope="module")
def whole(codec):
    return decoded(codec, [len(CODES)])


def make_codec(folder):
    torch.manual_seed(1)
    tensors = {
        f"{name}.{key}": tensor
        for name, part in (("decoder", Decoder), ("quantizer", Quantizer))
        for key, tensor in part(TINY).state_dict().items()
    }
    for name in ("said", "said_means", "contours", "heard", "basis", "mean"):
        tensors[f"quantizer.{name}"] = torch.randn_like(tensors[f"quantizer.{name}"])
    save_file(tensors, folder / SPECTRAL_WEIGHTS)
    (folder / SPECTRAL_CONFIG).write_text(json.dumps(config_fields(TINY)))
    return folder


def decoded(codec, cuts):
    with codec.decoding() as decode:
        return np.concatenate([decode(part) for part in np.split(CODES, cuts)])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(CODES)), max_size=5).map(sorted))
def test_streamed_equals_whole_however_it_is_cut(codec, whole, cuts):
    np.testing.assert_array_equal(decoded(codec, cuts), whole)


def test_frames_have_1920_samples_each(whole):
    assert whole.shape == (len(CODES) * FRAME_SAMPLES,)
    assert whole.dtype == np.float32
    assert np.abs(whole).max() > 0


def test_what_comes_later_changes_nothing_before(codec, whole):
    with codec.decoding() as decode:
        np.testing.assert_array_equal(decode(CODES[:3]), whole[: 3 * FRAME_SAMPLES])


def test_streams_do_not_touch_each_other(codec, whole):
    with codec.decoding() as one, codec.decoding() as other:
        parts = [(one(frame[None]), other(frame[None]))[0] for frame in CODES]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_codes_of_a_clip_are_of_whole_frames_and_within_the_entries(codec):
    codes = codec.encode(CLIP)
    assert codes.shape == (6, TINY.codebooks)
    assert codes.dtype == np.int32
    assert 0 <= codes.min() <= codes.max() < TINY.entries


def test_padding_to_whole_frames_is_silence(codec):
    padded = np.pad(CLIP, (0, 6 * FRAME_SAMPLES - len(CLIP)))
    np.testing.assert_array_equal(codec.encode(CLIP), codec.encode(padded))


def test_an_empty_clip_is_refused(codec):
    with pytest.raises(AudioError, match="empty"):
        codec.encode(np.zeros(0, np.float32))


def test_fewer_codebooks_are_the_first_ones(folder, codec):
    fewer = load_codec(folder, 2)
    np.testing.assert_array_equal(fewer.encode(CLIP), codec.encode(CLIP)[:, :2])
    assert fewer.identity == codec.identity
    with fewer.decoding() as decode:
        assert decode(CODES[:1, :2]).shape == (FRAME_SAMPLES,)


def test_other_codebooks_have_another_identity(tmp_path, codec):
    tensors = load_file(make_codec(tmp_path) / SPECTRAL_WEIGHTS)
    tensors["quantizer.said"] += 1
    save_file(tensors, tmp_path / SPECTRAL_WEIGHTS)
    assert load_codec(tmp_path, TINY.codebooks).identity != codec.identity


def test_the_folder_decides_which_codec_it_is(folder, tmp_path):
    assert isinstance(load_codec(folder, 2), SpectralCodec)
    assert isinstance(load_codec(make_checkpoint(tmp_path, "sesame"), 8), MimiCodec)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_type": "other"}, "model_type is 'other'"),
        ({"width": 0}, "width is 0, not a whole number"),
        ({"width": 1 << 40}, "width is 1099511627776"),
        ({"frame_width": "wide"}, "frame_width is 'wide'"),
        ({"shares": []}, "shares is not a list"),
        ({"shares": [2, 0]}, "shares is not a list"),
        ({"shares": [400, 401]}, "shares is not a list"),
        ({"shares": None}, "shares is not a list"),
        ({"shares": [2, 5]}, "tensor quantizer.basis: expected"),
        ({"width": 13}, "tensor decoder"),
    ],
)
def test_a_config_that_does_not_fit_is_an_error_of_one_line(tmp_path, change, problem):
    make_codec(tmp_path)
    (tmp_path / SPECTRAL_CONFIG).write_text(json.dumps(config_fields(TINY) | change))
    with pytest.raises(CheckpointError, match=problem) as caught:
        load_codec(tmp_path, 2)
    assert "\n" not in str(caught.value)


def test_a_missing_size_is_an_error(tmp_path):
    make_codec(tmp_path)
    config = config_fields(TINY)
    del config["entries"]
    (tmp_path / SPECTRAL_CONFIG).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="entries is None"):
        load_codec(tmp_path, 2)


def test_shapes_are_those_of_the_modules(folder):
    shapes = {name: tuple(x.shape) for name, x in load_file(folder / SPECTRAL_WEIGHTS).items()}
    assert tensor_shapes(TINY) == shapes


def test_missing_and_broken_weights_are_errors(tmp_path):
    path = make_codec(tmp_path) / SPECTRAL_WEIGHTS
    tensors = load_file(path)
    del tensors["decoder.begin.bias"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"decoder.begin.bias: expected \[16\], found none"):
        load_codec(tmp_path, 2)
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_codec(tmp_path, 2)


def test_more_codebooks_than_the_codec_has_are_refused(folder):
    with pytest.raises(CheckpointError, match="speaks in 5 codebooks, the codec has 4"):
        load_codec(folder, 5)


def test_causal_blocks_streamed_equal_whole_and_see_nothing_ahead():
    blocks = Blocks(2, 6, 2, 5, is_causal=True)
    x = torch.randn(1, 11, 6)
    past = {}
    parts = torch.cat([blocks(part, past) for part in x.split([3, 1, 7], 1)], 1)
    torch.testing.assert_close(parts, blocks(x))
    torch.testing.assert_close(blocks(x[:, :4]), blocks(x)[:, :4])


def test_windows_add_up_to_what_they_were_cut_from():
    window = torch.hann_window(WINDOW).sqrt()
    signal = torch.randn(1, 9 * HOP)
    windows = signal.unfold(1, WINDOW, HOP) * window * window / 2
    middle = slice(3 * HOP, -3 * HOP)
    torch.testing.assert_close(overlapped(windows)[:, middle], signal[:, middle])


def test_pulses_are_harmonics_of_one_power_together():
    hz = torch.full((1, 101), 150.0, dtype=torch.float64)
    tone = pulses(*phases(hz, torch.zeros(1, dtype=torch.float64))[:2])[0]
    spectrum = torch.fft.rfft(tone).abs() / len(tone) * 2
    harmonics = spectrum[150::150]  # a bin a Hz: 24000 samples
    assert len(tone) == SAMPLE_RATE
    torch.testing.assert_close(harmonics[:77], harmonics[:1].expand(77), rtol=0.02, atol=0)
    torch.testing.assert_close(tone.square().mean(), torch.tensor(1.0), rtol=0.05, atol=0)


def test_phase_goes_on_from_one_stretch_to_the_next():
    hz = torch.tensor([[100.0, 130.0, 90.0, 240.0, 200.0]], dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64)
    whole, _, last = phases(hz, start)
    first, _, end = phases(hz[:, :3], start)
    rest, _, other = phases(hz[:, 2:], end)
    both = torch.cat((first, rest), 1)
    torch.testing.assert_close(both.cos(), whole.cos())
    torch.testing.assert_close(other, last)
