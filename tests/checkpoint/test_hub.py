"""Finding and downloading checkpoints: the real huggingface_hub client, a hub on 127.0.0.1."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

import csm_chat
from csm_chat.checkpoint.codec_files import KYUTAI_FILE
from csm_chat.checkpoint.find import Progress, find_checkpoint
from csm_chat.errors import ModelError
from tests.hub_server import COMMIT, FakeRepo, HubServer, etag

ROOT = Path(__file__).parents[2]
GATED = "sesame/csm-1b"
OPEN = "unsloth/csm-1b"
MLX = "senstella/csm-1b-mlx"
KYUTAI = "kyutai/moshiko-pytorch-bf16"
MB = 1 << 20
BIG = 24 * MB  # the client writes 10 MB at a time; a resumed download needs some of them
NO_SERVER = "http://127.0.0.1:9"  # the discard port, where nothing listens


def tensors(*names: str, n_bytes: int = 64) -> bytes:
    content = np.arange(n_bytes, dtype=np.uint32).astype(np.uint8)
    return save(dict.fromkeys(names, content))


def index(**files: str) -> bytes:
    return json.dumps(
        {"weight_map": {name.replace("__", "."): f for name, f in files.items()}}
    ).encode()


WHOLE = {
    "config.json": b'{"model_type": "csm"}',
    "tokenizer.json": b"{}",
    "model.safetensors": tensors("embed_text_tokens.weight", "codec_model.encoder.weight"),
}
BIG_WHOLE = {**WHOLE, "model.safetensors": tensors("codec_model.a", n_bytes=BIG)}
SHARDS = tuple(f"transformers-0000{n}-of-00002.safetensors" for n in (1, 2))
THREE_LAYOUTS = {
    "README.md": b"# CSM",
    "config.json": b'{"model_type": "csm"}',
    "tokenizer.json": b"{}",
    "ckpt.pt": b"pickle",
    "model.safetensors": tensors("text_embeddings.weight"),
    "transformers.safetensors.index.json": index(
        embed_text_tokens__weight=SHARDS[0], codec_model__encoder=SHARDS[1]
    ),
    SHARDS[0]: tensors("embed_text_tokens.weight"),
    SHARDS[1]: tensors("codec_model.encoder"),
}
KYUTAI_CODEC = tensors("encoder.weight")
NO_PARTS = {"config.json": b"{}", "ckpt.safetensors": tensors("text_embeddings.weight")}


def mirrors() -> dict[str, FakeRepo]:
    return {
        MLX: FakeRepo(dict(NO_PARTS)),
        KYUTAI: FakeRepo(
            {KYUTAI_FILE: KYUTAI_CODEC, "model.safetensors": b"moshi, which is not wanted"}
        ),
        OPEN: FakeRepo(dict(WHOLE)),
    }


def environment(home: Path, endpoint: str, **more: str) -> dict[str, str]:
    foreign = re.compile(r"HF_|HUGGING|XDG_|.*_proxy$", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    own = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**kept, **own, **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.hub_client", *arguments]


def find_all(
    models: Iterable[str], home: Path, endpoint: str, *options: str, **env: str
) -> list[dict[str, Any]]:
    """Find models one after the other in one process."""
    done = subprocess.run(
        command(*models, *options),
        env=environment(home, endpoint, **env),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    said: list[dict[str, Any]] = json.loads(done.stdout)
    return said


def find(model: str, home: Path, endpoint: str, *options: str, **env: str) -> dict[str, Any]:
    (said,) = find_all([model], home, endpoint, *options, **env)
    return said


def refusal(said: dict[str, Any]) -> str:
    """The message of the HubError that a search ended with; all of them have steps."""
    assert said["error"] == "HubError"
    message: str = said["message"]
    assert re.search(r":\n  1\. .+\n  2\. ", message), message
    return message


def refused(model: str, home: Path, endpoint: str, **env: str) -> str:
    return refusal(find(model, home, endpoint, **env))


def snapshot(home: Path, repo: str) -> Path:
    return home / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots" / COMMIT


def blobs(home: Path, repo: str) -> Path:
    return snapshot(home, repo).parents[1] / "blobs"


def cache(home: Path, repo: str, files: dict[str, bytes], ref: str = "main") -> Path:
    """Put files into a cache as the client leaves them."""
    folder = snapshot(home, repo)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    refs = folder.parents[1] / "refs"
    refs.mkdir()
    (refs / ref).write_text(COMMIT)
    return folder


resumes = pytest.mark.skipif(
    not version("huggingface_hub").startswith("0."),
    reason="recent versions of the client drop an unfinished file",
)


# --- folders


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    found = find_checkpoint(str(tmp_path), pytest.fail)
    assert found.weights == found.codec == found.tokenizer == tmp_path
    assert found.name == str(tmp_path)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert find_checkpoint("~/model", pytest.fail).weights == tmp_path / "model"


@pytest.mark.parametrize("name", ["./nowhere", "nowhere", "a/b/c", "~/nowhere", "/nowhere"])
def test_a_folder_that_is_not_there_is_named_in_full(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError) as raised:
        find_checkpoint(name, pytest.fail)
    assert f"no folder {Path(name).expanduser().absolute()}" in str(raised.value)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "ckpt.pt"
    file.touch()
    with pytest.raises(ModelError, match=f"{re.escape(str(file))} is a file"):
        find_checkpoint(str(file), pytest.fail)


# --- complete


THREE_WANTED = {
    *("config.json", "tokenizer.json", "transformers.safetensors.index.json"),
    *SHARDS,
}


@dataclass(frozen=True)
class Downloaded:
    """What became of asking twice for the repository with three layouts."""

    home: Path
    first: dict[str, Any]
    second: dict[str, Any]
    fetched: list[str]
    listings: int


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Downloaded:
    home = tmp_path_factory.mktemp("home")
    with HubServer({GATED: FakeRepo(THREE_LAYOUTS)}) as hub:
        first, second = find_all([GATED, GATED], home, hub.url)
        listings = [request for request in hub.requests if request.path.startswith("/api/")]
        return Downloaded(home, first, second, hub.downloads(GATED), len(listings))


def test_one_layout_of_three_is_downloaded(downloaded: Downloaded) -> None:
    first = downloaded.first
    assert first["weights"] == first["codec"] == first["tokenizer"]
    assert first["weights"] == str(snapshot(downloaded.home, GATED))
    assert sorted(downloaded.fetched) == sorted(THREE_WANTED), "each once"
    assert {file.name for file in Path(first["weights"]).iterdir()} == THREE_WANTED


def test_what_is_whole_in_the_cache_needs_no_hub(downloaded: Downloaded) -> None:
    first, second = downloaded.first, downloaded.second
    assert (second["weights"], second["notices"]) == (first["weights"], [])
    assert downloaded.listings == 1
    offline = find(GATED, downloaded.home, NO_SERVER, HF_HUB_OFFLINE="1")
    assert offline["weights"] == first["weights"]


def test_the_size_is_said_once(downloaded: Downloaded) -> None:
    (notice,) = downloaded.first["notices"]
    folder = re.escape(str(downloaded.home / "hub"))
    line = rf"{GATED}: [\d.]+ \w+ to {folder} \(disk free [\d.]+ GB\)"
    assert re.fullmatch(line, notice)
    n_bytes = sum(len(THREE_LAYOUTS[name]) for name in THREE_WANTED)
    assert downloaded.first["progress"][-1][:2] == [n_bytes, n_bytes]


def test_what_a_repository_lacks_comes_from_others(tmp_path: Path) -> None:
    with HubServer(mirrors()) as hub:
        said = find(MLX, tmp_path, hub.url)
        assert hub.downloads(KYUTAI) == [KYUTAI_FILE]
        assert hub.downloads(OPEN) == ["tokenizer.json"]
        assert set(hub.downloads(MLX)) == set(NO_PARTS)
    folders = [Path(said[part]) for part in ("weights", "codec", "tokenizer")]
    assert folders == [snapshot(tmp_path, repo) for repo in (MLX, KYUTAI, OPEN)]
    assert (folders[1] / KYUTAI_FILE).read_bytes() == KYUTAI_CODEC
    assert (folders[2] / "tokenizer.json").is_file()
    assert said["notices"][0].startswith(
        f"{MLX} with {KYUTAI_FILE} of {KYUTAI} with tokenizer.json of"
    )


def test_weights_already_here_go_before_better_ones(tmp_path: Path) -> None:
    here = {name: THREE_LAYOUTS[name] for name in ("config.json", "model.safetensors")}
    cache(tmp_path, GATED, here)
    with HubServer({**mirrors(), GATED: FakeRepo(THREE_LAYOUTS)}) as hub:
        said = find(GATED, tmp_path, hub.url)
        assert not {"ckpt.pt", "model.safetensors", *SHARDS} & set(hub.downloads(GATED))
    assert said["codec"] == str(snapshot(tmp_path, KYUTAI))
    assert said["tokenizer"] == said["weights"]


def test_a_revision_is_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    model = f"{OPEN}@v2"
    with HubServer({OPEN: FakeRepo(WHOLE, revisions=("v2",))}) as hub:
        said, again = find_all([model, model], tmp_path, hub.url)
        listings = [request.path for request in hub.requests if "/api/" in request.path]
    assert (said["name"], again["name"], again["notices"]) == (model, model, [])
    assert listings == [f"/api/models/{OPEN}/revision/v2"]


# --- auto


def test_auto_takes_what_is_whole_in_the_cache_and_asks_nobody(tmp_path: Path) -> None:
    cache(tmp_path, GATED, {"config.json": b"{}"})  # begun, not whole
    folder = cache(tmp_path, OPEN, WHOLE)
    with HubServer({}) as hub:
        said = find("auto", tmp_path, hub.url)
        assert hub.requests == []
    assert (said["weights"], said["name"]) == (str(folder), OPEN)


def test_auto_with_nothing_cached_is_the_built_in_voice_and_downloads_nothing(
    tmp_path: Path,
) -> None:
    with HubServer(mirrors()) as hub:
        said, chosen = find_all(["auto", "builtin"], tmp_path, hub.url)
        assert hub.requests == []
    (notice,) = said["notices"]
    assert f"csm-chat --model {OPEN}" in notice and "built-in" in notice
    assert said["name"] == chosen["name"] == "builtin"
    assert said["weights"] == said["codec"] == chosen["tokenizer"]
    assert Path(said["weights"]) == Path(csm_chat.__file__).parent / "builtin"
    assert chosen["notices"] == []
    assert not (tmp_path / "hub").exists()


# --- refused

REFUSING = {
    GATED: FakeRepo(THREE_LAYOUTS, readers=frozenset()),
    OPEN: FakeRepo(WHOLE),
    "ana/down": FakeRepo(WHOLE, listing_status=503),
    "ana/gguf": FakeRepo({"config.json": b"{}", "model-q8.gguf": b"gguf"}),
    "ana/bare": FakeRepo({"model.safetensors": tensors("a")}),
    "ana/shard": FakeRepo({k: v for k, v in THREE_LAYOUTS.items() if k != SHARDS[1]}),
    "ana/hostile": FakeRepo({"config.json": b"{}", "\x1b]0;title\x07\n  9. forged.bin": b""}),
    "ana/large": FakeRepo(WHOLE, claimed_bytes={"model.safetensors": 10**15}),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each of these models is refused with, without a token."""
    models = [*REFUSING, "sesame/csm1b"]
    models[models.index(OPEN)] = f"{OPEN}@v3"
    with HubServer(REFUSING) as hub:
        said = find_all(models, tmp_path_factory.mktemp("home"), hub.url)
        # the headers of weights are read for the names of tensors, and configurations
        assert hub.bytes_sent < 3000
    return {model: refusal(one) for model, one in zip(models, said, strict=True)}


def test_gated_without_a_token_says_how_to_log_in(refusals: dict[str, str]) -> None:
    message = refusals[GATED]
    assert message.startswith(f"{GATED} is gated and this machine is not logged in")
    assert f"https://huggingface.co/{GATED} and accept" in message
    assert "hf auth login" in message and OPEN in message


def test_a_revision_that_is_not_there_is_named(refusals: dict[str, str]) -> None:
    assert refusals[f"{OPEN}@v3"].startswith(f"{OPEN} has no revision v3")


def test_a_repository_that_is_not_there_names_the_nearest(refusals: dict[str, str]) -> None:
    message = refusals["sesame/csm1b"]
    assert message.startswith("there is no repository sesame/csm1b")
    assert "did you mean sesame/csm-1b?" in message


@pytest.mark.parametrize(
    ("model", "lacks"),
    [("ana/gguf", "weights"), ("ana/bare", "config.json"), ("ana/shard", SHARDS[1])],
)
def test_a_repository_without_a_needed_file_names_it(
    model: str, lacks: str, refusals: dict[str, str]
) -> None:
    assert refusals[model].startswith(f"{model} has no {lacks}; it holds ")


def test_a_hub_that_is_down_is_quoted(refusals: dict[str, str]) -> None:
    message = refusals["ana/down"]
    assert "answered 503" in message and "the hub is having a bad day" in message


def test_a_disk_too_small_is_said_with_sizes(refusals: dict[str, str]) -> None:
    message = refusals["ana/large"]
    assert message.startswith("ana/large: 1000000.0 GB to download, but only ")
    assert "HF_HOME" in message


def test_gated_with_terms_not_accepted_names_the_user(tmp_path: Path) -> None:
    repo = FakeRepo(THREE_LAYOUTS, readers=frozenset({"bo"}))
    with HubServer({GATED: repo}, tokens={"hf_ana": "ana", "hf_bo": "bo"}) as hub:
        message = refused(GATED, tmp_path, hub.url, HF_TOKEN="hf_ana")
        assert message.startswith(f"{GATED} is gated and ana may not read it")
        assert "logged in as ana, open" in message
        assert "error" not in find(GATED, tmp_path, hub.url, HF_TOKEN="hf_bo")


def test_an_invalid_token_is_not_a_missing_repository(tmp_path: Path) -> None:
    with HubServer(mirrors(), tokens={"hf_ana": "ana"}) as hub:
        message = refused(OPEN, tmp_path, hub.url, HF_TOKEN="hf_old")
    assert message.startswith("the Hugging Face token of this machine is not valid")


def test_a_token_is_not_sent_where_it_can_be_read_on_the_way(tmp_path: Path) -> None:
    far = "http://hub.example"
    with HubServer(mirrors()) as proxy:  # where all that goes to it would pass
        given = {"HF_TOKEN": "hf_ana", "http_proxy": proxy.url}
        message = refused(OPEN, tmp_path, far, **given)
        assert message.startswith(f"{far} (HF_ENDPOINT) is not HTTPS: anybody on the way could")
        assert "hf_ana" not in message and proxy.requests == []
        # asked without it, the same hub answers
        assert "error" not in find(OPEN, tmp_path, far, HF_HUB_DISABLE_IMPLICIT_TOKEN="1", **given)
        assert proxy.downloads(OPEN) and proxy.n_with_token == 0


def test_names_of_a_repository_do_not_steer_the_terminal(refusals: dict[str, str]) -> None:
    assert r"it holds \x1b]0;title\x07\n  9. forged.bin" in refusals["ana/hostile"]


def test_offline_mode_and_no_network_are_told_apart(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE=1 forbids" in refused(OPEN, tmp_path, NO_SERVER, HF_HUB_OFFLINE="1")
    message = refused(OPEN, tmp_path, NO_SERVER)
    assert message.startswith(f"cannot reach {NO_SERVER}")
    assert "Connection refused" in message


# --- disk


@resumes  # the partial file is where the always full device is put
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_is_said_with_the_systems_words(tmp_path: Path) -> None:
    partial = blobs(tmp_path, OPEN) / f"{etag(WHOLE['model.safetensors'])}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    with HubServer({OPEN: FakeRepo(WHOLE)}) as hub:
        message = refused(OPEN, tmp_path, hub.url)
    assert message.startswith(f"disk full while writing to {tmp_path}/hub")
    assert "No space left on device" in message


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with HubServer({OPEN: FakeRepo(WHOLE)}) as hub:
        message = refused(OPEN, tmp_path, hub.url, HF_HUB_CACHE=f"{tmp_path}/file/hub")
    assert message.startswith(f"cannot write {OPEN} to {tmp_path}/file/hub (")


# --- on the way


def test_progress_is_one_rising_count_over_all_files(tmp_path: Path) -> None:
    with HubServer({OPEN: FakeRepo(BIG_WHOLE, block_s=0.05)}) as hub:
        readings = find(OPEN, tmp_path, hub.url)["progress"]
    done = [reading[0] for reading in readings]
    total = sum(map(len, BIG_WHOLE.values()))
    assert {reading[1] for reading in readings} == {total}
    assert done == sorted(done) and done[-1] == total
    assert len({n for n in done if 0 < n < total}) >= 2
    rates = [(n, rate, eta) for n, _, rate, eta in readings if rate > 0]
    assert all(rate < MB / 0.05 * 1.1 for _, rate, _ in rates), "the server's pace"
    assert all(eta == pytest.approx((total - n) / rate) for n, rate, eta in rates)


def test_progress_reads_as_a_line() -> None:
    assert str(Progress(2_100_000_000, 7_100_000_000, 38e6, 131.6)) == (
        "2.1 GB of 7.1 GB, 38.0 MB/s, about 2 min left"
    )
    assert str(Progress(0, 7_100_000_000, 0.0, None)) == "0 bytes of 7.1 GB"


@resumes
def test_a_broken_off_download_goes_on_where_it_was(tmp_path: Path) -> None:
    repo = FakeRepo(BIG_WHOLE, break_after=15 * MB)
    with HubServer({OPEN: repo}) as hub:
        message = refused(OPEN, tmp_path, hub.url)
        assert message.startswith(f"the connection to {hub.url} broke (")
        assert "10.5 MB of 25.2 MB are in" in message
        repo.break_after = None
        hub.requests.clear()
        said = find(OPEN, tmp_path, hub.url)
        ranges = {request.range for request in hub.requests if "model" in request.path}
        assert f"bytes={10 * MB}-" in ranges
        assert hub.bytes_sent < 2 * BIG
    assert "10.5 MB of 25.2 MB are here" in said["notices"][0]
    assert said["progress"][0][0] > 10 * MB
    assert (Path(said["weights"]) / "model.safetensors").read_bytes() == BIG_WHOLE[
        "model.safetensors"
    ]


@resumes
def test_a_stopped_download_goes_on_where_it_was(tmp_path: Path) -> None:
    repo = FakeRepo(BIG_WHOLE, block_s=0.05)
    with HubServer({OPEN: repo}) as hub:
        said = find(OPEN, tmp_path, hub.url, "--cancel-at", str(10 * MB))
        assert said["error"] == "HubError"
        assert said["message"].startswith(f"the download of {OPEN} was stopped; 10.5 MB of 25.2 MB")
        repo.block_s = 0
        assert "error" not in find(OPEN, tmp_path, hub.url)
        assert hub.bytes_sent < 2 * BIG


@contextmanager
def downloading(home: Path, endpoint: str) -> Iterator[subprocess.Popen[bytes]]:
    quiet = subprocess.DEVNULL
    env = environment(home, endpoint)
    with subprocess.Popen(command(OPEN), env=env, cwd=ROOT, stdout=quiet, stderr=quiet) as process:
        yield process


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_program_ends_its_download(signum: int, tmp_path: Path) -> None:
    with HubServer({OPEN: FakeRepo(BIG_WHOLE, block_s=0.2)}) as hub:
        with downloading(tmp_path, hub.url) as process:
            assert hub.wait_until_sending()
            os.kill(process.pid, signum)
        assert hub.wait_until_idle()
        assert hub.bytes_sent < BIG
