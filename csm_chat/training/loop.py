"""A training loop: schedule, checkpoints, resume, validation, log. Knows no model and no data."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from csm_chat.errors import CheckpointError, UsageError
from csm_chat.training.picture import draw_curves

_log = logging.getLogger(__name__)

LAST = "last.pt"
LOG = "log.jsonl"
PICTURE = "progress.svg"

Batch_contra = TypeVar("Batch_contra", contravariant=True)
BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train; what is trained is a Task's."""

    out: Path  # folder of checkpoint, log and picture
    minutes: float  # this run ends after so long
    device: str = "cpu"
    seed: int = 0
    learning_rate: float = 3e-4  # the highest
    warmup_steps: int = 500
    hold_steps: int = 5000  # then the rate falls with the square root of the step
    total_steps: int | None = None  # if given: a cosine to zero at this step, and the end there
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    muon: str = ""  # a part of the names of the matrices that Muon takes; AdamW has the others
    clip_norm: float = 1.0
    ema_decay: float | None = None  # of the averaged weights; None: none are kept
    bf16: bool = False  # autocast; weights stay float32
    checkpoint_minutes: float = 5.0
    validate_every: int = 1000  # steps
    log_every: int = 50  # steps
    threads: int | None = None  # None: as many as cores are free, looked up at every log line


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Task(Protocol[Batch_contra]):
    """What is trained. Random draws come from torch's generator, seeded anew for every step."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Plain values; a checkpoint made with others does not resume."""
        ...

    @property
    def extras(self) -> Mapping[str, Stateful]:
        """What else has to survive: discriminators, their optimisers."""
        ...

    def loss(self, batch: Batch_contra, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss to go down and figures for the log. Runs under autocast, on the device."""
        ...

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Figures on held-out data of `model`: the averaged weights where they are kept."""
        ...


@dataclass(slots=True)
class _State:
    model: nn.Module
    ema: nn.Module | None
    optimisers: list[torch.optim.Optimizer]
    step: int = 0  # steps done
    seconds: float = 0.0  # trained, over all runs
    sums: dict[str, Tensor] = field(default_factory=dict)  # of the figures since the last line
    n_sums: int = 0


def pick_device(name: str) -> str:
    """Turn auto, cpu or cuda into a device that is there. Raises UsageError."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UsageError("--device cuda: no CUDA device here; take --device cpu")
    return ("cuda" if has_cuda else "cpu") if name == "auto" else name


def learning_rate(plan: Plan, step: int) -> float:
    """The rate of step `step`, counted from 0: a function of nothing else, so runs resume."""
    warm = min(1.0, (step + 1) / max(1, plan.warmup_steps))
    if plan.total_steps is not None:
        share = min(1.0, step / plan.total_steps)
        return plan.learning_rate * warm * (1 + math.cos(math.pi * share)) / 2
    return plan.learning_rate * warm * math.sqrt(plan.hold_steps / max(step, plan.hold_steps))


class Run(Generic[BatchT]):
    """A training run in a folder. Running again in the same folder goes on where it ended."""

    def __init__(self, plan: Plan, task: Task[BatchT]) -> None:
        self._plan = plan
        self._task = task
        model = task.model.to(plan.device)
        ema = None if plan.ema_decay is None else copy.deepcopy(model).requires_grad_(False).eval()
        self._state = _State(model, ema, _optimisers(model, plan))
        plan.out.mkdir(parents=True, exist_ok=True)
        if (plan.out / LAST).is_file():
            self._resume()

    @property
    def step(self) -> int:
        return self._state.step

    def train(self, batches: Callable[[int], Iterator[BatchT]]) -> int:
        """Train until the time is up, the steps are done or SIGINT or SIGTERM; returns the step.

        `batches(n)` begins with the batch of step n; whatever it draws must depend on n alone.
        """
        plan, state = self._plan, self._state
        started = saved = time.monotonic()
        stream = batches(state.step)
        _take_threads(plan)
        with _stop_signals() as stopped:
            while not stopped.is_set() and not self._is_over(time.monotonic() - started):
                begun = time.monotonic()
                self._step(next(stream))
                state.seconds += time.monotonic() - begun
                self._report()
                if time.monotonic() - saved > plan.checkpoint_minutes * 60:
                    self.save()
                    saved = time.monotonic()
            self.save()
        return state.step

    def _is_over(self, elapsed_s: float) -> bool:
        total = self._plan.total_steps
        return elapsed_s >= self._plan.minutes * 60 or (total is not None and self.step >= total)

    def _step(self, batch: BatchT) -> None:
        plan, state = self._plan, self._state
        torch.manual_seed(plan.seed * 1_000_003 + state.step)
        state.model.train()
        for optimiser in state.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(plan, state.step)
        with torch.autocast(torch.device(plan.device).type, torch.bfloat16, enabled=plan.bf16):
            loss, figures = self._task.loss(batch, state.step)
        state.model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), plan.clip_norm)
        is_finite = bool(torch.isfinite(norm))
        if is_finite:
            for optimiser in state.optimisers:
                optimiser.step()
            self._average()
        else:
            _log.debug("step %d: the gradient is not finite; skipped", state.step)
        state.step += 1
        skipped = torch.tensor(float(not is_finite))
        self._add({**figures, "loss": loss, "grad_norm": norm, "skipped": skipped})

    def _average(self) -> None:
        """Move the averaged weights, buffers as well: codebooks have to fit their encoder."""
        state, decay = self._state, self._plan.ema_decay
        if state.ema is None or decay is None:
            return
        weight = 1 - min(decay, (1 + state.step) / (10 + state.step))
        for mean, now in zip(_tensors(state.ema), _tensors(state.model), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, weight)
            else:
                mean.copy_(now)

    def _add(self, figures: Mapping[str, Tensor]) -> None:
        state = self._state
        for name, value in figures.items():
            plain = value.detach().float()
            # one that is not finite would hide those of its neighbours
            plain = torch.nan_to_num(plain, 0.0, 0.0, 0.0)
            state.sums[name] = state.sums[name] + plain if name in state.sums else plain
        state.n_sums += 1

    def _report(self) -> None:
        plan, state = self._plan, self._state
        if state.step % plan.log_every == 0:
            line = {name: float(value) / state.n_sums for name, value in state.sums.items()}
            self._write({**line, "lr": learning_rate(plan, state.step - 1)})
            state.sums, state.n_sums = {}, 0
            _take_threads(plan)
        if state.step % plan.validate_every == 0:
            model = state.model if state.ema is None else state.ema
            with torch.no_grad():
                figures = self._task.validate(model.eval())
            self._write({f"valid_{name}": value for name, value in figures.items()})
            draw_curves(plan.out / LOG, plan.out / PICTURE)

    def _write(self, figures: Mapping[str, float]) -> None:
        minutes = round(self._state.seconds / 60, 2)
        line = {"step": self._state.step, "minutes": minutes}
        line |= {name: round(value, 6) for name, value in figures.items()}
        with (self._plan.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole."""
        state, path = self._state, self._plan.out / LAST
        content = {
            "step": state.step,
            "seconds": state.seconds,
            "settings": dict(self._task.settings),
            "model": state.model.state_dict(),
            "ema": None if state.ema is None else state.ema.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in state.optimisers],
            "extras": {name: extra.state_dict() for name, extra in self._task.extras.items()},
            "sums": state.sums,
            "n_sums": state.n_sums,
        }
        part = path.with_suffix(".part")
        torch.save(content, part)
        part.replace(path)

    def _resume(self) -> None:
        state, path = self._state, self._plan.out / LAST
        content = load_checkpoint(path, self._plan.device)
        if content["settings"] != dict(self._task.settings):
            raise CheckpointError(
                f"{path}: made with {content['settings']}, not {dict(self._task.settings)}; "
                "train in another folder"
            )
        if content["model"].keys() != state.model.state_dict().keys():
            raise CheckpointError(
                f"{path}: of a model with other parts, as another version had them; "
                "begin another folder with what was exported from it"
            )
        state.model.load_state_dict(content["model"])
        if state.ema is not None:
            # a run that kept no average before begins one at its weights
            state.ema.load_state_dict(content["ema"] or content["model"])
        for optimiser, moments in zip(state.optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(moments)
        for name, extra in self._task.extras.items():
            if name in content["extras"]:
                extra.load_state_dict(content["extras"][name])
        state.step, state.seconds = content["step"], content["seconds"]
        state.sums, state.n_sums = content["sums"], content["n_sums"]


def _take_threads(plan: Plan) -> None:
    """Leave cores that others use to them: threads that wait for one another then crawl.

    Two on two cores beside two busy processes took 6 s for a step that one does in 1 s, and alone
    0.4 s where one takes 0.7 s.
    """
    threads = plan.threads
    if threads is None:
        others = max(0.0, os.getloadavg()[0] - torch.get_num_threads())
        # the load of the last minute says nothing of what began with this run; OMP_NUM_THREADS does
        asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # "4,3": levels of nesting
        most = int(asked) if asked else os.cpu_count() or 1
        threads = max(1, min(most, (os.cpu_count() or 1) - round(others)))
    torch.set_num_threads(threads)


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read what a run saved. Raises CheckpointError."""
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: no checkpoint ({type(error).__name__}); train in another folder"
        ) from error
    return content


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.state_dict().values()]


class _Muon(torch.optim.Muon):
    """For convolutions as well: matrices of their outputs by all that these see.

    Muon (kellerjordan.github.io/posts/muon) is for what maps hidden states to hidden states, not
    for tables and heads. Its steps are scaled to the size of AdamW's: one rate does for both.
    """

    def __init__(self, parameters: list[nn.Parameter], plan: Plan) -> None:
        # views, which the steps change and the model sees
        self._flat = [(each, nn.Parameter(each.detach().flatten(1))) for each in parameters]
        super().__init__(
            [flat for _, flat in self._flat],
            lr=plan.learning_rate,
            weight_decay=plan.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def step(self, closure: Any = None) -> Any:
        for parameter, flat in self._flat:
            flat.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        return super().step(closure)  # type: ignore[no-untyped-call]  # torch's


def _optimisers(model: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """AdamW, after Muon where the plan names matrices for that. Vectors do not decay."""
    inner: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_matrix = parameter.ndim > 1 and min(parameter.flatten(1).shape) > 1
        if plan.muon and plan.muon in name and is_matrix:
            inner.append(parameter)
        else:
            (matrices if parameter.ndim > 1 else others).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas)
    return [_Muon(inner, plan), adamw] if inner else [adamw]


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, in place of ending the process in a step."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
