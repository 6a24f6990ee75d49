"""The training loop, on a line fitted to points."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from csm_chat.errors import CheckpointError, UsageError
from csm_chat.training.loop import (
    LAST,
    LOG,
    PICTURE,
    Plan,
    Run,
    learning_rate,
    load_checkpoint,
    pick_device,
)


class Line:
    """Fits a slope through noise drawn in `loss`: order of draws and state both matter."""

    def __init__(self, seed: int = 0, width: int = 4) -> None:
        torch.manual_seed(seed)
        self.model: nn.Module = nn.Sequential(
            nn.Unflatten(1, (1, width)), nn.Conv1d(1, 4, width), nn.Flatten(), nn.Linear(4, 1)
        )
        self.extra = nn.Linear(1, 1)
        self.settings = {"width": width}
        self.extras = {"extra": self.extra}

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        noisy = batch + 0.01 * torch.randn_like(batch)
        loss = (self.model(noisy) - batch.sum(dim=1, keepdim=True)).square().mean()
        with torch.no_grad():
            self.extra.bias.add_(torch.rand(1))
        return loss, {"step": torch.tensor(float(step))}

    def validate(self, model: nn.Module) -> dict[str, float]:
        points = torch.eye(4)
        return {"loss": float((model(points) - 1).square().mean())}


def points(first_step: int) -> Iterator[Tensor]:
    step = first_step
    while True:
        yield torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        step += 1


def plan(out: Path, steps: int, muon: str = "") -> Plan:
    """A plan whose rate does not depend on where it ends."""
    return Plan(
        *(out, 60.0),
        learning_rate=0.05,
        warmup_steps=3,
        hold_steps=10,
        ema_decay=0.9,
        total_steps=None,
        validate_every=steps,
        log_every=4,
        threads=1,
        muon=muon,
    )


def train(out: Path, until: int, muon: str = "") -> Line:
    """Train to step `until` of an endless run, from scratch or from where the folder is."""
    task = Line()
    run = Run(plan(out, 6, muon), task)

    def batches(first_step: int) -> Iterator[Tensor]:
        for number, batch in enumerate(points(first_step), first_step):
            if number == until - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    assert run.train(batches) == until
    return task


@pytest.mark.parametrize("muon", ["", "1.weight"])
def test_loss_falls(tmp_path: Path, muon: str) -> None:
    train(tmp_path, 60, muon)

    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] / 20
    held_out = [line["valid_loss"] for line in lines if "valid_loss" in line]
    assert len(held_out) == 10
    assert held_out[-1] < held_out[0] / 20


@pytest.mark.parametrize("muon", ["", "1.weight"])
def test_resumed_run_equals_uninterrupted_one(tmp_path: Path, muon: str) -> None:
    train(tmp_path / "whole", 17, muon)
    for until in (5, 6, 14, 17):
        train(tmp_path / "parts", until, muon)

    whole, parts = (load_checkpoint(tmp_path / name / LAST) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 17
    assert len(whole["optimisers"]) == (2 if muon else 1)
    for part in ("model", "ema"):
        assert all(torch.equal(whole[part][name], parts[part][name]) for name in whole[part])
    assert torch.equal(whole["extras"]["extra"]["bias"], parts["extras"]["extra"]["bias"])
    for one, other in zip(whole["optimisers"], parts["optimisers"], strict=True):
        for key, moments in one["state"].items():
            for name, value in moments.items():
                assert torch.equal(value, other["state"][key][name])


def test_resumed_run_logs_what_an_uninterrupted_one_logs(tmp_path: Path) -> None:
    train(tmp_path / "whole", 12)
    for until in (6, 12):
        train(tmp_path / "parts", until)

    logs = []
    for name in ("whole", "parts"):
        lines = [json.loads(line) for line in (tmp_path / name / LOG).read_text().splitlines()]
        logs.append([{k: v for k, v in line.items() if k != "minutes"} for line in lines])
    assert logs[0] == logs[1]


def test_averaged_weights_follow_slowly(tmp_path: Path) -> None:
    task = train(tmp_path, 2)

    content = load_checkpoint(tmp_path / LAST)
    first = Line().model.state_dict()["3.weight"]
    travelled = (task.model.state_dict()["3.weight"] - first).norm()
    averaged = (content["ema"]["3.weight"] - first).norm()
    assert 0 < averaged < travelled


def test_time_being_up_ends_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    run = Run(replace(plan(tmp_path, 6), minutes=0.0), Line())

    assert run.train(points) == 0
    assert load_checkpoint(tmp_path / LAST)["step"] == 0


def test_run_ends_at_its_total(tmp_path: Path) -> None:
    run = Run(replace(plan(tmp_path, 6), total_steps=7), Line())

    assert run.train(points) == 7


def test_gradient_that_is_not_finite_is_skipped(tmp_path: Path) -> None:
    def broken(first_step: int) -> Iterator[Tensor]:
        for step, batch in enumerate(points(first_step), first_step):
            yield batch * float("nan") if step == 2 else batch

    run = Run(replace(plan(tmp_path, 6), total_steps=4), Line())
    run.train(broken)

    weights = load_checkpoint(tmp_path / LAST)["model"]["3.weight"]
    assert torch.isfinite(weights).all()
    line = json.loads((tmp_path / LOG).read_text().splitlines()[0])
    assert line["skipped"] == 0.25
    assert math.isfinite(line["loss"])


def test_checkpoint_of_other_sizes_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 3)

    with pytest.raises(CheckpointError, match=r"'width': 4.*'width': 5.*another folder"):
        Run(plan(tmp_path, 6), Line(width=5))


def test_checkpoint_of_a_model_with_other_parts_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 3)
    task = Line()
    task.model.add_module("more", nn.Linear(1, 1))

    with pytest.raises(CheckpointError, match="with other parts"):
        Run(plan(tmp_path, 6), task)


def test_unreadable_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"nothing")

    with pytest.raises(CheckpointError, match=r"last\.pt: no checkpoint"):
        Run(plan(tmp_path, 6), Line())


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    train(tmp_path, 2)

    assert signal.getsignal(signal.SIGTERM) is before


def test_rate_rises_holds_and_falls(tmp_path: Path) -> None:
    rates = [learning_rate(plan(tmp_path, 6), step) for step in (0, 1, 2, 9, 40)]

    assert rates == pytest.approx([0.05 / 3, 0.1 / 3, 0.05, 0.05, 0.025])


def test_rate_with_a_total_ends_at_zero(tmp_path: Path) -> None:
    cosine = replace(plan(tmp_path, 6), total_steps=20)

    assert learning_rate(cosine, 10) == pytest.approx(0.025)
    assert learning_rate(cosine, 20) == pytest.approx(0)


def test_picture_has_a_curve_for_every_loss(tmp_path: Path) -> None:
    train(tmp_path, 13)

    drawn = (tmp_path / PICTURE).read_text()
    assert drawn.count("<polyline") == 2
    assert ">valid_loss " in drawn


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_absent_device_is_refused() -> None:
    with pytest.raises(UsageError, match="no CUDA device"):
        pick_device("cuda")
