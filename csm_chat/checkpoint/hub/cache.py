"""What the Hugging Face client keeps on this machine: files, and a token. No network."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from csm_chat.checkpoint.hub.client import RemoteFile, Repo
from csm_chat.errors import CheckpointError


def cache_folder() -> Path:
    """Return the folder of all repositories, as HF_HOME and HF_HUB_CACHE set it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _storage(repo: Repo) -> Path:
    return cache_folder() / f"models--{repo.id.replace('/', '--')}"


def snapshot(repo: Repo, name: str) -> Path:
    """Return the cached folder of `repo` that has file `name`. Raises CheckpointError."""
    ref = _storage(repo) / "refs" / repo.revision
    commit = ref.read_text().strip() if ref.is_file() else repo.revision
    folder = _storage(repo) / "snapshots" / commit
    if not (folder / name).is_file():
        raise CheckpointError(f"{repo.name}: {name} is not in the cache")
    return folder


def bytes_here(repo: Repo, file: RemoteFile) -> int:
    """Return how much of a file is there, whole or not."""
    blobs = _storage(repo) / "blobs"
    if (blobs / file.etag).is_file() or is_cached(repo, file.name):
        return file.n_bytes
    # hub 1.x puts a random part between etag and suffix
    return max((_size(path) for path in blobs.glob(f"{file.etag}*.incomplete")), default=0)


def is_cached(repo: Repo, name: str) -> bool:
    """Tell whether the cache has the whole of a file."""
    with suppress(CheckpointError):
        return snapshot(repo, name).is_dir()
    return False


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # whole by now, and renamed
        return path.stat().st_size
    return 0


def has_token() -> bool:
    """Whether HF_TOKEN is set or `hf auth login` was done; the token itself stays where it is."""
    from huggingface_hub import get_token

    return get_token() is not None
