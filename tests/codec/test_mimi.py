"""The codec on tiny random checkpoints, against moshi's and transformers' own Mimi."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moshi.models import loaders
from safetensors.torch import load_file, save_file

from csm_chat.codec import products
from csm_chat.codec.config import moshi_config
from csm_chat.codec.mimi import load_codec
from csm_chat.codec.sizes import sizes_of, tensor_shapes
from csm_chat.errors import AudioError, CheckpointError
from csm_chat.types import FRAME_SAMPLES
from tests.checkpoints import BINS, KYUTAI_FILE, Layout, make_checkpoint

CODEBOOKS = 8
WINDOW = 25  # frames that the tiny codec's attention spans; beyond it the caches wrap around
RNG = np.random.default_rng(7)
CLIP = (RNG.standard_normal(30 * FRAME_SAMPLES) * 0.1).astype(np.float32)
CODES = RNG.integers(BINS, size=(3 * WINDOW, CODEBOOKS)).astype(np.int32)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {layout: make_checkpoint(root / layout, layout) for layout in get_args(Layout)}


@pytest.fixture(scope="module")
def codec(folders):
    return load_codec(folders["sesame"], CODEBOOKS)


def moshis(folder):
    config = json.loads((folder / "mimi_config.json").read_text())
    return loaders.get_mimi(folder / KYUTAI_FILE, config, num_codebooks=CODEBOOKS)


@pytest.fixture(scope="module")
def whole(folders):
    """What moshi's own class makes of CODES in one go."""
    with torch.no_grad():
        return moshis(folders["sesame"]).decode(torch.from_numpy(CODES.T[None]).long())[0, 0]


def decoded(codec, codes, lengths):
    starts = np.cumsum(lengths)[:-1]
    with codec.decoding() as decode:
        return np.concatenate([decode(chunk) for chunk in np.split(codes, starts)])


@pytest.mark.parametrize("layout", get_args(Layout))
def test_every_layout_gives_the_same_codec(folders, codec, layout):
    other = load_codec(folders[layout], CODEBOOKS)
    np.testing.assert_array_equal(other.encode(CLIP), codec.encode(CLIP))
    np.testing.assert_allclose(
        decoded(other, CODES, [len(CODES)]), decoded(codec, CODES, [len(CODES)]), atol=1e-6
    )


@pytest.mark.parametrize("lengths", [[1] * 75, [2] * 37 + [1], [3] * 25, [1, 2, 40, 3, 29], [75]])
def test_streamed_samples_equal_whole_clip(codec, whole, lengths):
    np.testing.assert_allclose(decoded(codec, CODES, lengths), whole, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_any_cut_of_the_stream_gives_the_same_samples(codec, whole, lengths):
    n_frames = min(sum(lengths), len(CODES))
    pcm = decoded(codec, CODES[:n_frames], lengths)
    assert pcm.shape == (n_frames * FRAME_SAMPLES,)
    np.testing.assert_allclose(pcm, whole[: len(pcm)], atol=1e-4)


def test_codes_are_moshis(folders, codec):
    clip = np.tile(CLIP, 5)  # past the window, and past what is held beside it
    with torch.no_grad():
        theirs = moshis(folders["sesame"]).encode(torch.from_numpy(clip)[None, None])[0].T
    np.testing.assert_array_equal(codec.encode(clip), theirs)


@pytest.mark.parametrize("ratios", [[5, 4, 6, 8], [5, 4, 1, 6, 8]])
def test_nets_of_any_size_are_moshis(folders, tmp_path, ratios):
    config = json.loads((folders["sesame"] / "mimi_config.json").read_text())
    config["seanet"] |= {"n_residual_layers": 2, "dilation_base": 3, "compress": 1}
    config["seanet"] |= {"kernel_size": 5, "residual_kernel_size": 4, "last_kernel_size": 2}
    config["seanet"] |= {"ratios": ratios, "true_skip": False}
    # a row of which is longer than the blocks that a wide matrix is kept in
    config["transformer"] |= {"num_layers": 2, "dim_feedforward": 1024}
    torch.manual_seed(0)
    moshis = loaders.get_mimi(None, config, num_codebooks=CODEBOOKS)
    for name, buffer in moshis.named_buffers():
        if name.endswith("embedding_sum"):
            buffer.normal_()
    save_file(moshis.state_dict(), tmp_path / KYUTAI_FILE)
    (tmp_path / "mimi_config.json").write_text(json.dumps(config))
    ours = load_codec(tmp_path, CODEBOOKS)
    with torch.no_grad():
        pcm = moshis.decode(torch.from_numpy(CODES.T[None]).long())[0, 0]
        codes = moshis.encode(torch.from_numpy(CLIP)[None, None])[0].T
    assert pcm.abs().max() > 0.01
    np.testing.assert_allclose(decoded(ours, CODES, [1, 4, 30, 2, 38]), pcm, atol=1e-5)
    np.testing.assert_array_equal(ours.encode(CLIP), codes)


def test_samples_are_the_same_where_pytorch_has_no_packed_products(folders, whole, monkeypatch):
    monkeypatch.setattr(products, "_has", lambda library, name: False)
    plain = load_codec(folders["sesame"], CODEBOOKS)
    np.testing.assert_allclose(decoded(plain, CODES, [1] * len(CODES)), whole, atol=1e-4)


@pytest.mark.parametrize(("rounds", "share"), [(False, 1e-6), (True, 2**-12)])
@pytest.mark.parametrize("n_rows", [1, 2, 9])
def test_a_product_rounds_weights_only_where_it_may(rounds, share, n_rows):
    generator = torch.Generator().manual_seed(n_rows)
    weight, rows = (torch.randn(n, 512, generator=generator) for n in (96, n_rows))
    bias = torch.randn(96, generator=generator)
    product = products.product_with(weight, 1, rounds=rounds)
    exact = rows.double() @ weight.double().T + bias
    most = share * (rows.double().abs() @ weight.double().abs().T + bias.abs())
    assert ((product(rows, bias) - exact).abs() <= most).all()


def standalone(folder, target):
    """The codec of a transformers checkpoint as kyutai/mimi has it; returns `target`."""
    fields = json.loads((folder / "config.json").read_text())["codec_config"]
    (target / "config.json").write_text(json.dumps(fields))
    tensors = codec_tensors(folder)
    bare = {name.removeprefix("codec_model."): t for name, t in tensors.items()}
    save_file(bare, model_file(target), {"format": "pt"})
    return target


def test_codec_equals_transformers_within_the_window(folders, tmp_path):
    from transformers import MimiModel

    # past its window transformers 4.57 attends to everything, unlike the original
    folder = folders["transformers"]
    theirs = MimiModel.from_pretrained(standalone(folder, tmp_path)).eval()
    ours = load_codec(folder, CODEBOOKS)
    clip, codes = CLIP[: WINDOW * FRAME_SAMPLES], CODES[:WINDOW]
    with torch.no_grad():
        their_codes = theirs.encode(torch.from_numpy(clip)[None, None]).audio_codes[0].T
        their_pcm = theirs.decode(torch.from_numpy(codes.T[None]).long()).audio_values[0, 0]
    np.testing.assert_array_equal(ours.encode(clip), their_codes)
    np.testing.assert_allclose(decoded(ours, codes, [WINDOW]), their_pcm, atol=1e-4)


def test_standalone_mimi_of_transformers_loads(folders, codec, tmp_path):
    standalone(folders["transformers"], tmp_path)
    np.testing.assert_array_equal(load_codec(tmp_path, CODEBOOKS).encode(CLIP), codec.encode(CLIP))


def test_codec_is_found_in_shards_beside_a_file_without_one(folders, codec, tmp_path):
    shutil.copy(folders["transformers"] / "config.json", tmp_path)
    shutil.copy(folders["sesame"] / "model.safetensors", tmp_path)
    shard(codec_tensors(folders["transformers"]), tmp_path)
    np.testing.assert_array_equal(load_codec(tmp_path, CODEBOOKS).encode(CLIP), codec.encode(CLIP))


def test_missing_shard_is_named(folders, tmp_path):
    shard(codec_tensors(folders["transformers"]), tmp_path)
    (tmp_path / "part-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"part-1\.safetensors: missing"):
        load_codec(tmp_path, CODEBOOKS)


def test_names_of_moshis_first_release_load(folders, codec, tmp_path):
    shutil.copy(folders["sesame"] / "mimi_config.json", tmp_path)
    tensors = load_file(folders["sesame"] / KYUTAI_FILE)
    old = {
        name.replace("in_projs.0.weight", "in_proj_weight").replace("out_projs.0.", "out_proj."): t
        for name, t in tensors.items()
    }
    assert old.keys() != tensors.keys()
    save_file(old, tmp_path / "mimi.safetensors")
    np.testing.assert_array_equal(load_codec(tmp_path, CODEBOOKS).encode(CLIP), codec.encode(CLIP))


def test_default_sizes_and_tensors_are_those_of_the_real_mimi():
    assert moshi_config({}) == loaders._mimi_config
    theirs = loaders.get_mimi(None, device="meta", num_codebooks=32).state_dict()
    assert tensor_shapes(sizes_of(moshi_config({}))) == {
        name: tuple(tensor.shape) for name, tensor in theirs.items()
    }


@pytest.mark.parametrize("n_samples", [1, FRAME_SAMPLES - 1, FRAME_SAMPLES, FRAME_SAMPLES + 1])
def test_encoding_pads_to_whole_frames(codec, n_samples):
    n_frames = -(-n_samples // FRAME_SAMPLES)
    codes = codec.encode(CLIP[:n_samples])
    assert codes.shape == (n_frames, CODEBOOKS)
    assert codes.dtype == np.int32
    padded = np.zeros(n_frames * FRAME_SAMPLES, np.float32)
    padded[:n_samples] = CLIP[:n_samples]
    np.testing.assert_array_equal(codes, codec.encode(padded))


def test_encoding_nothing_is_an_error(codec):
    with pytest.raises(AudioError, match="empty"):
        codec.encode(np.zeros(0, np.float32))


def test_fewer_codebooks_are_the_first_ones(folders, codec):
    small = load_codec(folders["sesame"], 4)
    assert small.codebooks == 4
    np.testing.assert_array_equal(small.encode(CLIP), codec.encode(CLIP)[:, :4])


def test_samples_are_audible_and_stay_in_range(codec):
    pcm = decoded(codec, CODES, [1] * len(CODES))
    assert pcm.dtype == np.float32
    assert np.abs(pcm).max() <= 1
    levels = np.sqrt(np.mean(pcm.reshape(-1, FRAME_SAMPLES) ** 2, axis=1))
    assert levels.min() > 0.01
    assert levels.max() < 0.3


def test_loud_samples_are_clamped(folders, tmp_path):
    shutil.copytree(folders["sesame"], tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / KYUTAI_FILE)
    tensors["decoder.model.14.conv.conv.weight"] *= 100
    save_file(tensors, tmp_path / KYUTAI_FILE)
    pcm = decoded(load_codec(tmp_path, CODEBOOKS), CODES[:3], [3])
    assert np.abs(pcm).max() == 1


def test_streams_do_not_touch_each_other(codec):
    first = decoded(codec, CODES[:5], [5])
    decoded(codec, CODES[5:20], [15])
    np.testing.assert_array_equal(decoded(codec, CODES[:5], [5]), first)


def test_abandoned_stream_leaves_nothing(codec):
    first = decoded(codec, CODES[:5], [5])
    with pytest.raises(KeyboardInterrupt), codec.decoding() as decode:
        decode(CODES[7:9])
        raise KeyboardInterrupt
    np.testing.assert_array_equal(decoded(codec, CODES[:5], [5]), first)


def test_streams_and_encoding_may_take_turns(codec):
    first, second = decoded(codec, CODES[:5], [5]), decoded(codec, CODES[5:10], [5])
    pieces = []
    with codec.decoding() as decode, codec.decoding() as decode_other:
        for i in range(5):
            pieces.append((decode(CODES[i : i + 1]), decode_other(CODES[5 + i : 6 + i])))
            codec.encode(CLIP[:FRAME_SAMPLES])
    for whole_clip, streamed in zip((first, second), zip(*pieces, strict=True), strict=True):
        np.testing.assert_allclose(np.concatenate(streamed), whole_clip, atol=1e-5)


def test_stream_ends_with_its_block(codec):
    with codec.decoding() as decode:
        pass
    with pytest.raises(AssertionError, match="ended"):
        decode(CODES[:1])


def test_codes_without_an_entry_are_refused(codec):
    with codec.decoding() as decode, pytest.raises(AssertionError):
        decode(np.full((1, CODEBOOKS), BINS, np.int32))


def test_decoding_leaves_gradients_as_they_were(codec):
    with codec.decoding() as decode:
        decode(CODES[:1])
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_folder_without_codec_says_which_file_to_put_there(folders, tmp_path):
    shutil.copy(folders["sesame"] / "config.json", tmp_path)
    shutil.copy(folders["sesame"] / "model.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match=KYUTAI_FILE):
        load_codec(tmp_path, CODEBOOKS)


def test_missing_tensor_is_named(folders, tmp_path):
    break_tensors(folders["transformers"], tmp_path, lambda t: t.pop(FC1))
    with pytest.raises(CheckpointError, match=r"fc1\.weight is missing; expected \[64, 32\]"):
        load_codec(tmp_path, CODEBOOKS)


def test_misshapen_tensor_is_named_with_both_shapes(folders, tmp_path):
    break_tensors(folders["transformers"], tmp_path, lambda t: t.update({FC1: torch.zeros(3, 5)}))
    with pytest.raises(CheckpointError, match=r"fc1\.weight: expected \[64, 32\], found \[3, 5\]"):
        load_codec(tmp_path, CODEBOOKS)


def test_extra_tensor_is_named(folders, tmp_path):
    break_tensors(
        folders["transformers"], tmp_path, lambda t: t.update({"codec_model.x": torch.zeros(2)})
    )
    with pytest.raises(CheckpointError, match=r"tensor x: expected none, found \[2\]"):
        load_codec(tmp_path, CODEBOOKS)


def test_codec_with_too_few_codebooks_is_refused(folders):
    with pytest.raises(CheckpointError, match="32 codebooks, the codec has 8"):
        load_codec(folders["sesame"], 32)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("seanet", "ratios", [8, 6, 5, 5]),
        ("seanet", "ratios", "8654"),
        ("seanet", "n_residual_layers", -1),
        ("seanet", "dimension", 16),
        ("quantizer", "bins", None),
        ("transformer", "max_period", 0),
        ("seanet", "n_filters", "wide"),
        ("transformer", "num_heads", 3),
        ("transformer", "d_model", -32),
        ("quantizer", "bin", 9),
        ("seanet", "activation", "ReLU"),
        ("seanet", "activation_params", {"alpha": 0.5}),
        ("seanet", "pad_mode", "replicate"),
        ("seanet", "final_activation", "Tanh"),
        ("transformer", "positional_embedding", "sin"),
        ("transformer", "kv_repeat", 2),
        ("transformer", "layer_scale", None),
        ("transformer", "input_dimension", 16),
    ],
)
def test_sizes_that_make_no_mimi_are_refused(folders, tmp_path, part, key, value):
    shutil.copytree(folders["sesame"], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "mimi_config.json").read_text())
    config[part][key] = value
    (tmp_path / "mimi_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_codec(tmp_path, CODEBOOKS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("sampling_rate", 16_000), ("sampling_rate", None)),
        *(("upsampling_ratios", [0]), ("upsampling_ratios", "8654")),
        ("hidden_size", 33),
    ],
)
def test_codec_config_that_makes_no_mimi_is_refused(folders, tmp_path, key, value):
    shutil.copytree(folders["transformers"], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["codec_config"][key] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_codec(tmp_path, CODEBOOKS)


def test_unreadable_file_is_named(tmp_path):
    (tmp_path / KYUTAI_FILE).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=KYUTAI_FILE):
        load_codec(tmp_path, CODEBOOKS)


def test_loading_draws_no_weights_compiles_nothing_and_needs_no_moshi(folders):
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from csm_chat.engine.choice import load_engine\n"
        "from csm_chat.engine.options import LoadOptions\n"
        "options = LoadOptions('torch', 'cpu', 'float32', 'none')\n"
        f"load_engine(Path({str(folders['sesame'])!r}), options)\n"
        "from csm_chat.codec.mimi import load_codec\n"
        f"with load_codec(Path({str(folders['sesame'])!r}), 8).decoding() as decode:\n"
        "    decode(np.ones((2, 8), np.int32))\n"
        "assert not {'moshi', 'sympy', 'torch._dynamo'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_checkpoints_are_small_and_the_same_again(folders, tmp_path):
    again = make_checkpoint(tmp_path / "again")
    for file in again.iterdir():
        assert file.read_bytes() == (folders["transformers"] / file.name).read_bytes()
    assert sum(file.stat().st_size for file in again.iterdir()) < 4_000_000


FC1 = "codec_model.decoder_transformer.layers.0.mlp.fc1.weight"


def model_file(folder: Path) -> Path:
    return folder / "model.safetensors"


def codec_tensors(folder):
    tensors = load_file(model_file(folder))
    return {name: t for name, t in tensors.items() if name.startswith("codec_model.")}


def break_tensors(source, folder, change):
    shutil.copy(source / "config.json", folder)
    tensors = load_file(model_file(source))
    change(tensors)
    save_file(tensors, model_file(folder))


def shard(tensors, folder):
    names = sorted(tensors)
    weight_map = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(weight_map.values()):
        save_file(
            {name: tensors[name] for name in names if weight_map[name] == file}, folder / file
        )
    index = folder / "transformers.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
