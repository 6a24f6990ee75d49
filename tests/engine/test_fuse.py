"""A fused checkpoint says what its model says with the adapter, in every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from csm_chat.checkpoint.weights import LAYOUTS
from csm_chat.engine.torch.fuse import fuse
from csm_chat.errors import CheckpointError
from tests import parity
from tests.engine.test_adapters import greedy, mlx_adapter
from tests.parity import load_engine, on_each_backend


@on_each_backend
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["tiny-a", "tiny-a-hf", "tiny-a-mlx"])
def test_fused_says_what_adapted_says_from_and_to_every_layout(
    name: str, layout: str, tmp_path: Path
) -> None:
    adapter, out, done = mlx_adapter(tmp_path / "ana"), tmp_path / "out", list[int]()
    fuse(parity.PARITY / name, adapter, out, layout, done.append)
    engine = load_engine(parity.PARITY / name)
    engine.adapt(adapter)
    np.testing.assert_array_equal(greedy(load_engine(out)), greedy(engine))
    assert done == sorted(done) and done[-1] == sum(t.nbytes for t in parity.tensors(name).values())
    assert not [*tmp_path.glob(".*")]


def test_a_codec_among_the_weights_comes_along(tmp_path: Path) -> None:
    weight = torch.ones(2, 3)
    folder = parity.copy("tiny-a-hf", tmp_path / "model", **{"codec_model.a.weight": weight})
    fuse(folder, mlx_adapter(tmp_path / "ana"), tmp_path / "out", "original", lambda done: None)
    from safetensors.torch import load_file

    (path,) = (tmp_path / "out").glob("*.safetensors")
    assert torch.equal(load_file(path)["codec_model.a.weight"], weight)


def test_large_checkpoints_become_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csm_chat.engine.torch.fuse._SHARD_BYTES", 100_000)
    adapter = mlx_adapter(tmp_path / "ana")
    fuse(parity.PARITY / "tiny-a", adapter, tmp_path / "out", "mlx", lambda done: None)
    files = [*(tmp_path / "out").glob("*.safetensors")]
    assert len(files) > 2 and all(file.stat().st_size < 250_000 for file in files)
    engine = parity.load_torch(parity.PARITY / "tiny-a")
    engine.adapt(adapter)
    np.testing.assert_array_equal(greedy(parity.load_torch(tmp_path / "out")), greedy(engine))


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float8_e4m3fn])
def test_what_is_changed_is_not_rounded_to_the_format_of_the_rest(
    stored: torch.dtype, tmp_path: Path
) -> None:
    folder, out = tmp_path / "model", tmp_path / "out"
    parity.copy("tiny-a", folder)
    narrow = {name: t.to(stored) for name, t in parity.tensors("tiny-a").items()}
    save_file(narrow, parity.weights_file(folder))
    adapter = mlx_adapter(tmp_path / "ana")
    fuse(folder, adapter, out, "original", lambda done: None)
    engine = parity.load_torch(folder)
    engine.adapt(adapter)
    np.testing.assert_array_equal(greedy(parity.load_torch(out)), greedy(engine))
    from safetensors.torch import load_file

    (path,) = out.glob("*.safetensors")
    assert {t.dtype for t in load_file(path).values()} == {torch.float32, stored}


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no adapter there"):
        fuse(parity.PARITY / "tiny-a", tmp_path / "empty", tmp_path / "out", "mlx", print)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
