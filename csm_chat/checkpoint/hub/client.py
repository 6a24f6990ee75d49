"""Asks the process that talks to the hub.

A process of its own because the client library cannot be stopped from outside while it waits for
the network, writes its retries to stderr, and takes its settings from the environment at import.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csm_chat.checkpoint.hub.messages import Failure

LOG = logging.getLogger(__name__)

POLL_S = 0.2
STOP_S = 2.0
# xet starts a broken off file from its beginning; plain HTTP asks for the rest
_ENVIRONMENT = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository of the hub at one of its revisions."""

    id: str  # "owner/name"
    revision: str = "main"

    @property
    def name(self) -> str:
        return self.id if self.revision == "main" else f"{self.id}@{self.revision}"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    name: str
    n_bytes: int
    etag: str  # names its blob in the cache


class HubFailure(Exception):
    """The hub did not give what was asked for."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.words)
        self.failure = failure


class HubClient(AbstractContextManager["HubClient"]):
    """Asks the hub, one question after the other. Leaving the `with` stops whatever goes on.

    `cancelled` is asked several times a second; once it says True the question in hand is given up
    with HubFailure. All methods raise HubFailure.
    """

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._answers: queue.Queue[bytes] = queue.Queue()

    def __enter__(self) -> HubClient:
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("process.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**_ENVIRONMENT, **os.environ},
            start_new_session=True,  # a Ctrl-C at the terminal is for this process to act on
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        LOG.debug("hub process: %s", self._said())
        self._stderr.close()

    def files(self, repo: Repo) -> dict[str, RemoteFile]:
        """List the files of a repository by name."""
        answer = self._ask("files", repo)
        return {
            name: RemoteFile(name, int(n_bytes), str(etag))
            for name, (n_bytes, etag) in answer["files"].items()
        }

    def tensors(self, repo: Repo, name: str) -> list[str]:
        """List the tensors of a safetensors file, from its header alone."""
        return [str(tensor) for tensor in self._ask("tensors", repo, name=name)["tensors"]]

    def fetch(
        self, repo: Repo, names: Sequence[str], waiting: Callable[[], None] = lambda: None
    ) -> Path:
        """Bring files into the cache and return their folder; calls `waiting` while it does."""
        return Path(self._ask("fetch", repo, waiting, names=list(names))["folder"])

    def _ask(
        self,
        what: str,
        repo: Repo,
        waiting: Callable[[], None] = lambda: None,
        **more: object,
    ) -> dict[str, Any]:
        request = {"do": what, "repo": repo.id, "revision": repo.revision, **more}
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died, and the end of its answers tells so
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._wait(repo, waiting))
        if "failure" in answer:
            raise HubFailure(Failure(**answer["failure"], repo=repo.id, revision=repo.revision))
        return dict(answer["answer"])

    def _wait(self, repo: Repo, waiting: Callable[[], None]) -> bytes:
        while True:
            if self._cancelled():
                raise HubFailure(Failure("cancelled", repo=repo.id))
            waiting()
            try:
                line = self._answers.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if not line:
                raise HubFailure(Failure("other", self._said() or "it ended", repo=repo.id))
            return line

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def _said(self) -> str:
        """Return the last line of the process's stderr, the error's own when it crashed."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
