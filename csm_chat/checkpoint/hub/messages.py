"""What to tell a user when the hub cannot give a checkpoint. Text only: no network, no files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from csm_chat.errors import HubError

MODEL_REPO = "sesame/csm-1b"  # gated
UNGATED_REPOS = ("unsloth/csm-1b", "eustlb/csm-1b", "senstella/csm-1b-mlx")
MODEL_REPOS = (MODEL_REPO, *UNGATED_REPOS)
MODEL_SIZE = "7.1 GB"  # of the files that are downloaded from MODEL_REPO

_RERUN = "run the same command again"
_RESUME = f"{_RERUN}: it goes on from what is there"
_UNGATED = f"or use a mirror that is not gated: csm-chat --model {UNGATED_REPOS[0]}"
_ELSEWHERE = "or keep the cache on another disk: set HF_HOME to a folder there"
_LOCAL = "or name a folder that holds a checkpoint: csm-chat --model /path/to/folder"
_LOGIN = (
    "make a read token at https://huggingface.co/settings/tokens and run: "
    "hf auth login   (or set HF_TOKEN)"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the hub did not give what was asked for, and where that left things."""

    kind: str  # a key of the table below
    words: str = ""  # of the hub, the socket or the disk
    status: int | None = None  # of HTTP
    token: bool = False  # one is set or stored on this machine
    user: str | None = None  # whose token it is
    repo: str = ""
    revision: str = "main"
    endpoint: str = "https://huggingface.co"
    cache: str = ""  # folder that files go to
    kept: str = ""  # "2.1 of 7.1 GB", of an unfinished download


def size(n_bytes: float) -> str:
    """Write a size in decimal units, as the hub's pages do."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if n_bytes >= 10**power:
            return f"{n_bytes / 10**power:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


def with_steps(what: str, *steps: str) -> tuple[str, ...]:
    """Put numbered steps under a line that says what is wrong."""
    return (f"{what}:", *(f"  {n}. {step}" for n, step in enumerate(steps, 1)))


def hub_error(failure: Failure) -> HubError:
    """Make the error a user reads."""
    return HubError(*_MESSAGES[failure.kind](failure))


def no_space(repo: str, needed: int, free: int, cache: str) -> HubError:
    """Make the error for a disk that cannot hold the download."""
    return HubError(
        *with_steps(
            f"{repo}: {size(needed)} to download, but only {size(free)} are free at {cache}",
            f"free {size(needed - free)} there: folders of {cache} that you no longer need can go",
            _ELSEWHERE,
            _RERUN,
        )
    )


def no_file(repo: str, wanted: str, has: list[str]) -> HubError:
    """Make the error for a repository that lacks what a checkpoint needs."""
    some = ", ".join(sorted(has)[:6]) or "nothing"
    return HubError(
        *with_steps(
            f"{repo} has no {wanted}; it holds {some}",
            "check that it is a CSM checkpoint for torch; GGUF and ONNX files are not read",
            f"or use one of: {', '.join(MODEL_REPOS)}",
        )
    )


def _gated(failure: Failure) -> tuple[str, ...]:
    page = f"open https://huggingface.co/{failure.repo} and accept the terms"
    if not failure.token:
        what = f"{failure.repo} is gated and this machine is not logged in to Hugging Face"
        return with_steps(what, page, _LOGIN, _RERUN, _UNGATED)
    user = failure.user or "the user of this machine's token"
    return with_steps(
        f'{failure.repo} is gated and {user} may not read it (the hub says: "{failure.words}")',
        f"logged in as {user}, {page}",
        "a fine-grained token also needs read access to public gated repositories: "
        "https://huggingface.co/settings/tokens",
        _RERUN,
        _UNGATED,
    )


def _repository(failure: Failure) -> tuple[str, ...]:
    near = get_close_matches(failure.repo, MODEL_REPOS, n=1)
    nearest = f"; did you mean {near[0]}?" if near and near[0] != failure.repo else ""
    who = f"for {failure.user}" if failure.user else "without a token"
    who = "with this token" if failure.token and not failure.user else who
    return with_steps(
        f"there is no repository {failure.repo} at {failure.endpoint}, or it is private and cannot "
        f"be seen {who}{nearest}",
        f"check the name at {failure.endpoint}/{failure.repo}",
        f"if it is private: {_LOGIN}",
        f"or use one of: {', '.join(MODEL_REPOS)}",
    )


def _revision(failure: Failure) -> tuple[str, ...]:
    return with_steps(
        f"{failure.repo} has no revision {failure.revision}",
        f"see its branches, tags and commits at {failure.endpoint}/{failure.repo}/commits/main",
        f"or leave it out: csm-chat --model {failure.repo}",
    )


def _entry(failure: Failure) -> tuple[str, ...]:
    return with_steps(
        f'{failure.repo} lists a file that it does not give (the hub says: "{failure.words}")',
        f"look at {failure.endpoint}/{failure.repo}/tree/{failure.revision}",
        _RERUN,
    )


def _offline(failure: Failure) -> tuple[str, ...]:
    return with_steps(
        f"{failure.repo} is not complete in {failure.cache} and HF_HUB_OFFLINE=1 forbids to "
        "download it",
        f"once, without HF_HUB_OFFLINE: csm-chat --model {failure.repo}",
        "or set HF_HOME to a folder whose hub/ has it",
        _LOCAL,
    )


def _network(failure: Failure) -> tuple[str, ...]:
    if failure.kept:
        what = f"the connection to {failure.endpoint} broke ({failure.words}); {failure.kept} "
        return with_steps(what + f"are in {failure.cache}", _RESUME, _LOCAL)
    return with_steps(
        f"cannot reach {failure.endpoint} for {failure.repo} ({failure.words})",
        "check the network, and HTTPS_PROXY or HF_ENDPOINT if you use them",
        _RERUN,
        _LOCAL,
    )


def _readable(failure: Failure) -> tuple[str, ...]:
    return with_steps(
        f"{failure.endpoint} (HF_ENDPOINT) is not HTTPS: anybody on the way could read the Hugging "
        "Face token of this machine, so nothing was asked",
        "set HF_ENDPOINT to its https:// address",
        "or, where it wants no token: set HF_HUB_DISABLE_IMPLICIT_TOKEN=1",
        _LOCAL,
    )


def _http(failure: Failure) -> tuple[str, ...]:
    said = f'{failure.endpoint} answered {failure.status} for {failure.repo}: "{failure.words}"'
    if failure.status == 401:
        return with_steps(
            f"the Hugging Face token of this machine is not valid ({said})",
            _LOGIN,
            "HF_TOKEN goes before a stored login: unset it if it is the old one",
            _RERUN,
        )
    there = f" ({failure.kept} are here)" if failure.kept else ""
    return with_steps(
        said + there,
        "wait a little; the hub's state is at https://status.huggingface.co",
        _RESUME if failure.kept else _RERUN,
        _LOCAL,
    )


def _full(failure: Failure) -> tuple[str, ...]:
    there = f"; {failure.kept} are there" if failure.kept else ""
    return with_steps(
        f"disk full while writing to {failure.cache} ({failure.words}){there}",
        f"make room: folders of {failure.cache} that you no longer need can go",
        _ELSEWHERE,
        _RESUME,
    )


def _write(failure: Failure) -> tuple[str, ...]:
    return with_steps(
        f"cannot write {failure.repo} to {failure.cache} ({failure.words})",
        "let this user write there",
        _ELSEWHERE,
        _RERUN,
    )


def _cancelled(failure: Failure) -> tuple[str, ...]:
    here = f"; {failure.kept} are in {failure.cache}" if failure.kept else ""
    return with_steps(f"the download of {failure.repo} was stopped{here}", _RESUME)


def _other(failure: Failure) -> tuple[str, ...]:
    return with_steps(
        f"{failure.repo} cannot be downloaded ({failure.words})",
        "run it again with --debug to see all of it",
        _LOCAL,
    )


_MESSAGES: dict[str, Callable[[Failure], tuple[str, ...]]] = {
    "gated": _gated,
    "repository": _repository,
    "revision": _revision,
    "entry": _entry,
    "offline": _offline,
    "network": _network,
    "readable": _readable,
    "http": _http,
    "full": _full,
    "write": _write,
    "cancelled": _cancelled,
    "other": _other,
}
