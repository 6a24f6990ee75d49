"""What every test gets: no network, no sound card, and folders of its own."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.in_process import Run

# read when the libraries are imported, so set before any test module is
_home = tempfile.mkdtemp(prefix="csm-chat-tests-")
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=f"{_home}/huggingface",
    XDG_CACHE_HOME=f"{_home}/cache",
    XDG_CONFIG_HOME=f"{_home}/config",
    XDG_DATA_HOME=f"{_home}/data",
    XDG_STATE_HOME=f"{_home}/state",
    JACK_NO_START_SERVER="1",
    # models here are too small for two threads to pay, and threads that spin for each other on a
    # busy machine take a hundred times as long
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)
# a shell that starts this in the background has interrupts ignored, here and in what is started,
# and nohup has hang-ups ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete checkpoint folder: small, random, ends its takes by itself. Not to be changed."""
    from tests.checkpoints import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `run` runs the program. A module that wants something in it has its own."""
    return tmp_path


@pytest.fixture
def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Run]:
    """Runs the program in this process, in `folder`."""
    from tests.in_process import runner

    with runner(folder, monkeypatch, capfdbinary) as run:
        yield run


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch computes with one thread, whatever the machine has."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def each_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs once with each backend: `parity.load_engine` loads with it."""
    from tests import parity

    monkeypatch.setattr(parity, "backend", request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "each_backend" in metafunc.fixturenames:
        from tests.parity import BACKENDS

        metafunc.parametrize("each_backend", BACKENDS, indirect=True)
