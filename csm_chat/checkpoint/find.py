"""Find a checkpoint: a folder, the Hugging Face cache, the hub, or the built-in one.

A checkpoint is weights, codec and tokenizer.

What is whole in the cache is used without any network. What is downloaded goes to the ordinary
Hugging Face cache; its size is compared with the disk's free space first.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from csm_chat.checkpoint.codec_files import BUNDLED_PREFIX, KYUTAI_FILE, holds_codec
from csm_chat.checkpoint.files import INDEX, entries, find_weights, weight_map
from csm_chat.checkpoint.hub import messages
from csm_chat.checkpoint.hub.cache import bytes_here, cache_folder, is_cached, snapshot
from csm_chat.checkpoint.hub.client import HubClient, HubFailure, RemoteFile, Repo
from csm_chat.checkpoint.sizes import read_json
from csm_chat.errors import CheckpointError, ModelError
from csm_chat.notices import BuiltinInstead, DownloadBegins, Listener

AUTO = "auto"
BUILTIN = "builtin"  # the small voice that comes with the package
BUILTIN_FOLDER = Path(__file__).parents[1] / "builtin"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"

# where to get what a repository lacks; neither is gated
MIMI_REPO = Repo("kyutai/moshiko-pytorch-bf16")
TOKENIZER_REPO = Repo("unsloth/csm-1b")

PLAN_BYTES = 1_000_000  # not worth a word: config.json and an index, fetched to plan the rest
BAR_CELLS = 20
RATE_WINDOW_S = 15.0  # the client writes 10 MB at a time: several writes of a slow connection
_REPO_NAME = re.compile(r"(?P<id>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[^@\s]+))?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Folders that together hold a model; all the same one unless a repository lacks a part."""

    weights: Path  # config.json and the transformers
    codec: Path
    tokenizer: Path
    name: str  # what the user calls it: a repository or a folder


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is, over all its files and repositories."""

    done_bytes: int
    total_bytes: int
    rate: float  # bytes a second, over the last seconds
    eta_s: float | None  # None while nothing comes

    @property
    def bar(self) -> str:
        n_full = BAR_CELLS * self.done_bytes // max(1, self.total_bytes)
        return f"[{'#' * n_full}{'.' * (BAR_CELLS - n_full)}]"

    def __str__(self) -> str:
        sizes = f"{messages.size(self.done_bytes)} of {messages.size(self.total_bytes)}"
        if self.eta_s is None:
            return sizes
        left = f"{self.eta_s / 60:.0f} min" if self.eta_s >= 90 else f"{self.eta_s:.0f} s"
        return f"{sizes}, {messages.size(self.rate)}/s, about {left} left"


@dataclass(frozen=True, slots=True)
class _Part:
    """Files of one repository that a checkpoint needs."""

    repo: Repo
    files: tuple[RemoteFile, ...]

    @property
    def n_bytes(self) -> int:
        return sum(file.n_bytes for file in self.files)

    @property
    def bytes_here(self) -> int:
        return sum(bytes_here(self.repo, file) for file in self.files)


def find_checkpoint(
    model: str,
    tell: Listener,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Checkpoint:
    """Return folders that hold a complete checkpoint, downloading what a named repository lacks.

    `model` is a folder, "owner/name" or "owner/name@revision" of the hub, "builtin", or "auto":
    CSM-1B if the cache has it whole, else the built-in voice. Neither "auto" nor a repository whole
    in the cache touches the network.
    `tell` gets one notice before a download and where "auto" is the built-in voice; `progress` and
    `cancelled` are called several times a second during a download. One that stopped or broke goes
    on at the next call: inside a file with huggingface_hub before 1.0, from the last whole file
    with recent ones.
    Raises ModelError, HubError, CheckpointError.
    """
    if model == AUTO:
        if cached := _cached_csm():
            return cached
        tell(BuiltinInstead(messages.UNGATED_REPOS[0], messages.MODEL_SIZE))
        model = BUILTIN
    if model == BUILTIN:
        return Checkpoint(BUILTIN_FOLDER, BUILTIN_FOLDER, BUILTIN_FOLDER, BUILTIN)
    folder = _expanded(model)
    if folder.is_dir():
        return Checkpoint(folder, folder, folder, model)
    match = _REPO_NAME.fullmatch(model)
    if match is None or folder.exists():
        raise ModelError(_no_folder(folder.absolute()))
    repo = Repo(match["id"], match["revision"] or "main")
    return cached_checkpoint(repo) or _download(repo, tell, progress, cancelled)


def cached_checkpoint(repo: Repo) -> Checkpoint | None:
    """Return a repository's checkpoint if the cache has all of it. No network."""
    try:
        return _assemble(repo)
    except CheckpointError:
        return None


def _cached_csm() -> Checkpoint | None:
    cached = (cached_checkpoint(Repo(name)) for name in messages.MODEL_REPOS)
    return next((checkpoint for checkpoint in cached if checkpoint is not None), None)


def _expanded(model: str) -> Path:
    try:
        return Path(model).expanduser()
    except RuntimeError as error:
        raise ModelError(f"{model}: {error}; write the folder in full") from error


def _no_folder(path: Path) -> str:
    if path.exists():
        return f"{path} is a file; name the folder that holds it and {CONFIG}"
    return f"there is no folder {path}; a repository of the hub is written owner/name"


def _assemble(repo: Repo) -> Checkpoint:
    """Put a checkpoint together from the cache. Raises CheckpointError if a part is missing."""
    folder = snapshot(repo, CONFIG)
    find_weights(folder)
    codec = folder if _holds_codec(folder) else snapshot(MIMI_REPO, KYUTAI_FILE)
    own = (folder / TOKENIZER).is_file()
    return Checkpoint(
        folder, codec, folder if own else snapshot(TOKENIZER_REPO, TOKENIZER), repo.name
    )


def _holds_codec(folder: Path) -> bool:
    try:
        return holds_codec(folder, read_json(folder / CONFIG))
    except CheckpointError:
        return False


def _download(
    repo: Repo,
    tell: Listener,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool],
) -> Checkpoint:
    from huggingface_hub.constants import ENDPOINT

    parts: tuple[_Part, ...] = ()
    try:
        with HubClient(cancelled) as hub:
            parts = _plan(hub, repo)
            tell(_announcement(repo, parts))
            meter = _Meter(parts, progress)
            for part in parts:
                hub.fetch(part.repo, [file.name for file in part.files], meter.read)
            meter.read()
    except HubFailure as error:
        failure = replace(
            error.failure, endpoint=ENDPOINT, cache=str(cache_folder()), kept=_kept(parts)
        )
        raise messages.hub_error(failure) from error
    return _assemble(repo)


def _kept(parts: Sequence[_Part]) -> str:
    here = sum(part.bytes_here for part in parts)
    whole = sum(part.n_bytes for part in parts)
    return f"{messages.size(here)} of {messages.size(whole)}" if here > PLAN_BYTES else ""


def _announcement(repo: Repo, parts: Sequence[_Part]) -> DownloadBegins:
    """What will be downloaded. Raises HubError if the disk cannot hold it."""
    left = sum(part.n_bytes - part.bytes_here for part in parts)
    cache = cache_folder()
    free = shutil.disk_usage(next(path for path in (cache, *cache.parents) if path.is_dir())).free
    if left > free:
        raise messages.no_space(repo.name, left, free, str(cache))
    others = tuple((part.files[0].name, part.repo.id) for part in parts[1:])
    sizes = messages.size(left), messages.size(free)
    return DownloadBegins(repo.name, others, sizes[0], cache, sizes[1], _kept(parts))


def _plan(hub: HubClient, repo: Repo) -> tuple[_Part, ...]:
    """Choose the files to have, the repository's own part first. Raises HubFailure, HubError."""
    listing = hub.files(repo)
    _pick(repo, listing, [CONFIG])
    weights, has_codec = _weights(hub, repo, listing)
    own, others = [CONFIG, *weights], []
    for name, other in ((KYUTAI_FILE, MIMI_REPO), (TOKENIZER, TOKENIZER_REPO)):
        if name == KYUTAI_FILE and has_codec:
            continue
        if name in listing:
            own.append(name)
        elif not is_cached(other, name):
            others.append(_Part(other, _pick(other, hub.files(other), [name])))
    return (_Part(repo, _pick(repo, listing, own)), *others)


def _pick(
    repo: Repo, listing: Mapping[str, RemoteFile], names: Sequence[str]
) -> tuple[RemoteFile, ...]:
    for name in names:
        if name not in listing:
            raise messages.no_file(repo.name, name, list(listing))
    return tuple(listing[name] for name in names)


def _weights(
    hub: HubClient, repo: Repo, listing: Mapping[str, RemoteFile]
) -> tuple[list[str], bool]:
    """Choose the weights' files and tell whether the codec is among them.

    Weights that the cache has whole go before better ones that it has not.
    """
    folder = hub.fetch(repo, [CONFIG])  # where a gated repository says so
    with suppress(CheckpointError):
        return [file.name for file in find_weights(folder)], _holds_codec(folder)
    entry = next(iter(entries(listing)), None)
    if entry is None:
        raise messages.no_file(repo.name, "weights", list(listing))
    if entry.endswith(INDEX):
        homes = weight_map(hub.fetch(repo, [entry]) / entry)
        return [entry, *sorted(set(homes.values()))], _codec_among(homes)
    if entry.endswith(".safetensors"):
        return [entry], _codec_among(hub.tensors(repo, entry))
    return [entry], False


def _codec_among(tensors: Iterable[str]) -> bool:
    return any(name.startswith(BUNDLED_PREFIX) for name in tensors)


class _Meter:
    """Measures a download by what lies on the disk: before 1.0 the client reports no bytes."""

    def __init__(self, parts: Sequence[_Part], progress: Callable[[Progress], None] | None) -> None:
        self._parts = parts
        self._progress = progress
        self._total = sum(part.n_bytes for part in parts)
        self._seen: deque[tuple[float, int]] = deque()  # (seconds, bytes)

    def read(self) -> None:
        """Look and report."""
        if self._progress is None:
            return
        now = time.monotonic()
        done = min(self._total, sum(part.bytes_here for part in self._parts))
        self._seen.append((now, done))
        while self._seen[0][0] < now - RATE_WINDOW_S:
            self._seen.popleft()
        then, before = self._seen[0]
        rate = max(0, done - before) / (now - then) if now > then else 0.0
        eta = (self._total - done) / rate if rate else None
        self._progress(Progress(done, self._total, rate, eta))
