"""The process that talks to the Hugging Face hub: a line of JSON in, a line of JSON out.

`client.py` runs it as a script.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

LISTING_TIMEOUT_S = 30.0


def _files(request: dict[str, Any]) -> dict[str, Any]:
    """List a repository: `{"files": {name: [bytes, etag]}}`."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(
        request["repo"],
        revision=request["revision"],
        timeout=LISTING_TIMEOUT_S,
        files_metadata=True,
    )
    return {
        "files": {
            file.rfilename: [file.size or 0, file.lfs.sha256 if file.lfs else file.blob_id]
            for file in info.siblings or ()
        }
    }


def _fetch(request: dict[str, Any]) -> dict[str, Any]:
    """Bring files into the cache, one after the other: `{"folder": their snapshot}`."""
    from huggingface_hub import hf_hub_download

    # by branch name, not by commit: only then does the client note which commit the name stands
    # for, and a later start finds the files without asking the hub
    paths = [
        hf_hub_download(request["repo"], name, revision=request["revision"])
        for name in request["names"]
    ]
    return {"folder": str(Path(paths[0]).parent)}


def _tensors(request: dict[str, Any]) -> dict[str, Any]:
    """Read a safetensors file's header where it lies: `{"tensors": [name, ...]}`."""
    from huggingface_hub import HfApi

    header = HfApi().parse_safetensors_file_metadata(
        request["repo"], request["name"], revision=request["revision"]
    )
    return {"tensors": list(header.tensors)}


ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "files": _files,
    "fetch": _fetch,
    "tensors": _tensors,
}


def _transport_error() -> type[BaseException]:
    """Return the root of the HTTP library's errors: requests before hub 1.0, httpx from then on."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(kind for kind in reversed(HfHubHTTPError.__mro__) if kind.__module__ != "builtins")


def _kind(error: BaseException) -> str:
    from huggingface_hub import errors

    table: tuple[tuple[type[BaseException], str], ...] = (
        (errors.OfflineModeIsEnabled, "offline"),
        (errors.GatedRepoError, "gated"),
        (errors.RepositoryNotFoundError, "repository"),
        (errors.RevisionNotFoundError, "revision"),
        (errors.EntryNotFoundError, "entry"),
    )
    for kind, name in table:
        if isinstance(error, kind):
            return name
    if _status(error) is not None:
        return "http"
    # the library's own errors are OSErrors too, without an errno
    if isinstance(error, OSError) and error.errno is not None:
        return "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "write"
    return "network" if isinstance(error, (OSError, _transport_error())) else "other"


def _status(error: BaseException) -> int | None:
    # which errors carry a response differs between requests and httpx
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _innermost(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def _words(error: BaseException) -> str:
    """Say it in the words of the hub, or else of whatever failed first (socket, disk)."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return " ".join((error.server_message or str(error)).split())
    return " ".join(str(_innermost(error)).split())


def _user() -> str | None:
    """Return who the token belongs to; None if the hub does not say."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().whoami()["name"])
    except (OSError, _transport_error()):
        return None


def _failure(error: BaseException) -> dict[str, Any]:
    from huggingface_hub import errors

    # "not in the cache" only wraps why the hub could not be asked
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _failure(error.__cause__)
    token = _sends_token()
    kind = _kind(error)
    return {
        "kind": kind,
        "status": _status(error),
        "words": _words(error),
        "token": token,
        "user": _user() if token and kind in ("gated", "repository") else None,
    }


def _sends_token() -> bool:
    """Whether there is a token and the client adds it to what it asks."""
    from huggingface_hub import constants, get_token

    return get_token() is not None and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN


def _is_readable_on_the_way(url: str) -> bool:
    """Plain HTTP, unless it does not leave this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return parts.scheme != "https" and not is_here


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import constants, errors

    if _is_readable_on_the_way(constants.ENDPOINT) and _sends_token():
        return {"failure": {"kind": "readable", "token": True}}
    # before 1.0 EntryNotFoundError is one of the HTTP library's errors, later a plain Exception
    expected = (
        OSError,
        ValueError,
        errors.EntryNotFoundError,
        errors.SafetensorsParsingError,
        _transport_error(),
    )
    try:
        return {"answer": ANSWERS[request["do"]](request)}
    except expected as error:
        return {"failure": _failure(error)}


def _listen(requests: queue.Queue[dict[str, Any]]) -> None:
    # sys.stdin has a lock, and an interpreter that ends while a thread holds it aborts
    with os.fdopen(0, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            requests.put(json.loads(line))
    os._exit(0)  # who asked is gone; the main thread may be waiting for the network


def _stop(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)  # unwinds, so that the client removes what it cannot resume


def main() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGTERM, _stop)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        sys.stdout.write(json.dumps(_answer(requests.get())) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
