"""Transcripts through openai-whisper itself, on a tiny checkpoint of its own format."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from csm_chat.errors import TranscriptError
from csm_chat.types import SAMPLE_RATE
from csm_chat.voices.library import VoiceLibrary
from csm_chat.voices.transcribe import Transcriber, download
from csm_chat.wording import lines_to
from tests.fakes import LevelCodec
from tests.voices.test_voices import save, speech
from tests.whisper_checkpoint import make_whisper

# openai-whisper's tokenizer leaves its word list open
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

CLIP = speech(5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(
        tmp_path_factory.mktemp("whisper") / "tiny.pt", " The sea,\n  it never stops."
    )


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_words_come_on_one_line_and_in_silence(
    checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    transcribe = Transcriber(str(checkpoint))
    assert transcribe(CLIP) == "The sea, it never stops."
    assert capfd.readouterr() == ("", "")


def test_it_listens_again_after_close(checkpoint: Path) -> None:
    transcribe = Transcriber(str(checkpoint))
    transcribe(CLIP)
    transcribe.close()
    assert transcribe(CLIP) == "The sea, it never stops."


def test_a_clip_keeps_its_length_at_whispers_rate(checkpoint: Path) -> None:
    # at a wrong rate 29 s would last 43 s and fill a second window
    text = Transcriber(str(checkpoint))(np.zeros(29 * SAMPLE_RATE, np.float32))
    assert text == "The sea, it never stops."


def test_a_clip_longer_than_whispers_window_is_heard_in_parts(checkpoint: Path) -> None:
    text = Transcriber(str(checkpoint))(speech(35))
    assert text == "The sea, it never stops. The sea, it never stops."


def test_a_clip_without_words_is_an_error(tmp_path: Path) -> None:
    transcribe = Transcriber(str(make_whisper(tmp_path / "mute.pt", "\n")))
    with pytest.raises(TranscriptError, match="heard no words"):
        transcribe(CLIP)


@pytest.mark.usefixtures("offline")
def test_offline_without_weights_the_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match=r"base\.pt is missing and HF_HUB_OFFLINE") as caught:
        Transcriber(download_root=tmp_path)(CLIP)
    assert str(tmp_path / "base.pt") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_weights_put_into_the_folder_are_found_by_name(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "base.pt").write_bytes(checkpoint.read_bytes())
    assert Transcriber("base", download_root=tmp_path)(CLIP) == "The sea, it never stops."


@pytest.mark.usefixtures("offline")
def test_the_folder_is_the_one_whisper_uses(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "base.pt").write_bytes(checkpoint.read_bytes())
    assert Transcriber()(CLIP) == "The sea, it never stops."


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TranscriptError, match=r"'basse' is neither a file nor one of .*base"):
        Transcriber("basse")(CLIP)


@pytest.mark.parametrize("content", ["text", "empty", "other", "half"])
def test_weights_of_another_kind_are_an_error(
    tmp_path: Path, checkpoint: Path, content: str
) -> None:
    path = tmp_path / "other.pt"
    if content == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        whole = checkpoint.read_bytes()
        path.write_bytes(
            {"text": b"hello", "empty": b"", "half": whole[: len(whole) // 2]}[content]
        )
    with pytest.raises(TranscriptError, match=r"other\.pt is not a Whisper model") as caught:
        Transcriber(str(path))(CLIP)
    assert "\n" not in str(caught.value)


def test_a_clip_dropped_in_gets_its_transcript(tmp_path: Path, checkpoint: Path) -> None:
    lines: list[str] = []
    save(tmp_path / "reference.wav", speech(5), text=None)
    library = VoiceLibrary(
        tmp_path,
        LevelCodec(),
        tmp_path / "cache",
        Transcriber(str(checkpoint)),
        lines_to(lines.append),
        {},
        15.0,
    )
    (voice,) = library.load()
    assert voice.segments[0].text == "The sea, it never stops."
    assert (tmp_path / "reference.txt").read_text() == "The sea, it never stops.\n"
    assert lines[:2] == [
        "  transcribing reference.wav ...",
        f'  saved {tmp_path / "reference.txt"}, please check it: "The sea, it never stops."',
    ]


# fetching weights

WEIGHTS = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@contextmanager
def served(body: bytes, status: int = 200) -> Iterator[str]:
    """The address of a server that promises WEIGHTS and sends `body`."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(WEIGHTS)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/base.pt"
        finally:
            server.shutdown()
            thread.join()


def test_a_download_is_announced_and_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "whisper" / "base.pt"
    with served(WEIGHTS) as url:
        download(url, path, SHA256, lines_to(lines.append))
    assert path.read_bytes() == WEIGHTS
    assert lines == [f"downloading Whisper's base.pt, 0 MB, to {path.parent}"]
    assert [file.name for file in path.parent.iterdir()] == ["base.pt"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (WEIGHTS[:1000], 200, "broke off or was altered"),
        (WEIGHTS[::-1], 200, "broke off or was altered"),
        (WEIGHTS, 404, "404"),
    ],
)
def test_a_failed_download_leaves_nothing(
    tmp_path: Path, body: bytes, status: int, reason: str
) -> None:
    with served(body, status) as url, pytest.raises(TranscriptError, match=reason):
        download(url, tmp_path / "base.pt", SHA256, lambda _: None)
    assert not list(tmp_path.iterdir())


def test_no_connection_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with served(b"") as url:
        pass
    with pytest.raises(TranscriptError, match=r"cannot be downloaded .* put a Whisper \.pt file"):
        download(url, tmp_path / "base.pt", SHA256, lambda _: None)
