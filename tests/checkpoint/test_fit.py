"""A config.json over weights of other sizes: told by headers, before anything is built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csm_chat.assemble import load
from csm_chat.codec.config import mimi_config
from csm_chat.engine.choice import load_engine
from csm_chat.engine.options import LoadOptions
from csm_chat.errors import CheckpointError
from tests.program import environment

Fields = dict[str, Any]

WRONG: dict[str, tuple[Callable[[Fields], object], str]] = {
    "layers": (
        lambda c: c.update(num_hidden_layers=30),
        "layers.2.input_layernorm.weight is missing; expected [64], found none",
    ),
    "depth": (
        lambda c: c["depth_decoder_config"].update(intermediate_size=1 << 20),
        "mlp.gate_proj.weight: expected [1048576, 32], found [64, 32]",
    ),
    "tables": (
        lambda c: c.update(text_vocab_size=1 << 20, hidden_size=1 << 20),
        "embed_text_tokens.weight: expected [1048576, 1048576], found [",
    ),
    "codebooks": (lambda c: c.update(num_codebooks=256), "expected [17152, 64], found [536, 64]"),
    "codec": (
        lambda c: c["codec_config"].update(num_hidden_layers=30),
        "the codec's tensor encoder_transformer.layers.1.self_attn.q_proj.weight is missing",
    ),
    "codec of 60 000 layers": (
        lambda c: c["codec_config"].update(num_hidden_layers=60_000),
        "num_layers 60000, not a whole number from 1 to 256",
    ),
}
# the program run on each folder, and what it took: seconds of computing, MB at most, torch
RUNS = """
import json, re, sys, time
from pathlib import Path
from csm_chat.cli import main
for folder in sys.argv[1:]:
    started = time.process_time()
    code = main(["--model", folder, "--audio", "off"])
    took_s = time.process_time() - started
    status = Path("/proc/self/status").read_text()
    mb = int(re.search("VmHWM: *([0-9]+)", status.replace("\\t", " "))[1]) / 1000
    print(json.dumps([code, took_s, mb, "torch" in sys.modules]))
"""


def copied(checkpoint: Path, folder: Path, change: Callable[[Fields], object]) -> Path:
    shutil.copytree(checkpoint, folder)
    config = folder / "config.json"
    fields = json.loads(config.read_text())
    change(fields)
    config.write_text(json.dumps(fields))
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_weights_that_do_not_fit_are_one_line_at_once_and_no_memory(
    checkpoint: Path, tmp_path: Path
) -> None:
    folders = [copied(checkpoint, tmp_path / name, change) for name, (change, _) in WRONG.items()]
    ran = subprocess.run(
        [sys.executable, "-c", RUNS, *map(str, folders)],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in ran.stdout.splitlines():
        code, took_s, mb, has_torch = json.loads(line)
        assert (code, has_torch) == (3, False)
        assert took_s < 1 and mb < 120
    said = [line for line in ran.stderr.splitlines() if line != "audio: off"]
    assert len(said) == len(WRONG)
    for line, (name, (_, words)) in zip(said, WRONG.items(), strict=True):
        assert str(tmp_path / name) in line and words in line


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_nothing_is_packed_of_weights_that_do_not_fit(
    checkpoint: Path, tmp_path: Path, quantize: str
) -> None:
    change, words = WRONG["layers"]
    folder = copied(checkpoint, tmp_path / "wrong", change)
    options = LoadOptions("torch", "cpu", "float32", quantize, False, tmp_path / "packed")
    with pytest.raises(CheckpointError) as caught:
        load_engine(folder, options)
    assert words in str(caught.value)
    assert not (tmp_path / "packed").exists()


def test_a_codec_that_does_not_fit_is_told_before_the_model_is_packed(
    checkpoint: Path, tmp_path: Path
) -> None:
    change, words = WRONG["codec"]
    folder = copied(checkpoint, tmp_path / "wrong", change)
    told: list[str] = []
    with pytest.raises(CheckpointError) as caught:
        load(folder, quantize="int8", packed=tmp_path / "packed", notify=told.append)
    assert words in str(caught.value)
    assert told == [] and not (tmp_path / "packed").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"num_quantizers": 65_000},
        {"num_residual_layers": 1000},
        {"upsampling_ratios": [1] * 1000},
    ],
)
def test_sizes_whose_names_alone_would_take_long_are_refused(
    tmp_path: Path, fields: Fields
) -> None:
    with pytest.raises(CheckpointError, match=r"take another codec|make no Mimi"):
        mimi_config(tmp_path, {"codec_config": fields})
