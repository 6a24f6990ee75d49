"""A small Hugging Face hub on 127.0.0.1 for the real client: listings, files, gates, failures."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BLOCK = 1 << 20  # bytes written at a time
WAIT_S = 10.0
LFS_BYTES = 1 << 20  # files from here on have a sha256 for an ETag, as on the hub


@dataclass
class FakeRepo:
    """A repository and how it behaves."""

    files: dict[str, bytes]
    revisions: tuple[str, ...] = ("main",)
    readers: frozenset[str] | None = None  # users past the gate; None: no gate
    claimed_bytes: dict[str, int] = field(default_factory=dict)  # sizes that the listing lies about
    listing_status: int = 200
    block_s: float = 0.0  # seconds that each BLOCK takes
    break_after: int | None = None  # bytes of an answer after which its connection is closed


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None


@dataclass(frozen=True)
class Refusal(Exception):
    status: int
    code: str | None
    message: str


def etag(content: bytes) -> str:
    return (hashlib.sha256 if len(content) >= LFS_BYTES else hashlib.sha1)(content).hexdigest()


class HubServer:
    """Serves while in the `with`. `requests` and `bytes_sent` are what clients did so far."""

    def __init__(self, repos: dict[str, FakeRepo], tokens: dict[str, str] | None = None) -> None:
        self.repos = repos
        self.tokens = tokens or {}  # user by token
        self.requests: list[Request] = []
        self.bytes_sent = 0  # of file contents
        self.n_with_token = 0  # requests
        self._sending: set[object] = set()  # large answers under way
        hub = self

        class Handler(_Handler):
            server_of = hub

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def wait_until_sending(self) -> bool:
        """Tell whether a large file is asked for within a time."""
        return self._wait(lambda: bool(self._sending))

    def wait_until_idle(self) -> bool:
        """Tell whether all answers end within a time, by themselves or because nobody listens."""
        return self._wait(lambda: not self._sending)

    def _wait(self, condition: Callable[[], bool]) -> bool:
        until = time.monotonic() + WAIT_S
        while not condition() and time.monotonic() < until:
            time.sleep(0.02)
        return condition()

    @contextmanager
    def sending(self) -> Iterator[None]:
        answer = object()
        self._sending.add(answer)
        try:
            yield
        finally:
            self._sending.discard(answer)

    def downloads(self, repo: str) -> list[str]:
        """Names of the files whose content was asked for, in order."""
        start = f"/{repo}/resolve/"
        return [
            request.path.rpartition("/")[2]
            for request in self.requests
            if request.method == "GET" and request.path.startswith(start)
        ]


class _Handler(BaseHTTPRequestHandler):
    server_of: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: tests look at `requests`."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server_of.requests.append(Request(self.command, path, self.headers.get("Range")))
        try:
            user = self._user()
            if path == "/api/whoami-v2":
                self._json({"type": "user", "name": user})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
                self._listing(match[1], match[2] or "main")
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._file(match[1], match[2], match[3], user)
            else:
                raise Refusal(404, None, f"no such page: {path}")
        except Refusal as refusal:
            self._refuse(refusal)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was stopped

    def _user(self) -> str | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        self.server_of.n_with_token += 1
        token = header.removeprefix("Bearer ")
        if token not in self.server_of.tokens:
            raise Refusal(401, None, "Invalid credentials in Authorization header")
        return self.server_of.tokens[token]

    def _repo(self, name: str, revision: str) -> FakeRepo:
        repo = self.server_of.repos.get(name)
        if repo is None:
            status = 404 if "Authorization" in self.headers else 401
            raise Refusal(status, "RepoNotFound", "Repository not found")
        if revision not in (*repo.revisions, COMMIT):
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo

    def _listing(self, name: str, revision: str) -> None:
        repo = self._repo(name, revision)
        if repo.listing_status != 200:
            raise Refusal(repo.listing_status, None, "the hub is having a bad day")
        siblings = []
        for file, content in repo.files.items():
            n_bytes = repo.claimed_bytes.get(file, len(content))
            sibling: dict[str, Any] = {"rfilename": file, "size": n_bytes, "blobId": etag(content)}
            if len(content) >= LFS_BYTES:
                sibling["blobId"] = hashlib.sha1(content).hexdigest()
                sibling["lfs"] = {"sha256": etag(content), "size": n_bytes, "pointerSize": 134}
            siblings.append(sibling)
        self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings})

    def _file(self, name: str, revision: str, file: str, user: str | None) -> None:
        repo = self._repo(name, revision)
        if repo.readers is not None and user not in repo.readers:
            if user is None:
                raise Refusal(401, "GatedRepo", f"Access to model {name} is restricted.")
            raise Refusal(403, "GatedRepo", f"{user} is not in the authorized list.")
        if file not in repo.files:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        content = repo.files[file]
        start, stop = 0, len(content)
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start = int(match[1])
            stop = min(stop, int(match[2]) + 1) if match[2] else stop
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{etag(content)}"')
        self.send_header("X-Linked-ETag", f'"{etag(content)}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        if len(content) >= LFS_BYTES:  # offered as the hub does; nothing answers there
            self.send_header("X-Xet-Hash", etag(content))
            self.send_header("X-Xet-Refresh-Route", f"/api/models/{name}/xet-read-token/{COMMIT}")
        self.end_headers()
        if self.command == "GET" and stop - start > BLOCK:
            with self.server_of.sending():
                self._send(repo, content[start:stop])
        elif self.command == "GET":
            self._send(repo, content[start:stop])

    def _send(self, repo: FakeRepo, body: bytes) -> None:
        for at in range(0, len(body), BLOCK):
            if repo.break_after is not None and at >= repo.break_after:
                self.close_connection = True
                return
            if repo.block_s and len(body) > BLOCK:
                time.sleep(repo.block_s)
            block = body[at : at + BLOCK]
            self.wfile.write(block)
            self.server_of.bytes_sent += len(block)

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, refusal: Refusal) -> None:
        self.send_response(refusal.status)
        if refusal.code is not None:
            self.send_header("X-Error-Code", refusal.code)
        self.send_header("X-Error-Message", refusal.message)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()
