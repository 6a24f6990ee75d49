"""What is said in a clip, by openai-whisper."""

from __future__ import annotations

import hashlib
import http.client
import os
import pickle
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from csm_chat.audio.clips import resample
from csm_chat.errors import Interrupted, NoWordsError, TranscriptError
from csm_chat.notices import Listener, WhisperDownload, log_only
from csm_chat.places import expanded, whisper_folder
from csm_chat.types import SAMPLE_RATE, Pcm

WHISPER_RATE = 16_000  # Hz
TIMEOUT_S = 20.0  # for an answer, and for every further block of it
BLOCK_BYTES = 1 << 20
REMEDY = "put a Whisper .pt file there, or name one with whisper.model"


class Transcriber:
    """Writes down what is said. Whisper is loaded at the first call and kept until `close`."""

    def __init__(
        self,
        model: str = "base",
        device: str = "cpu",
        download_root: Path | None = None,
        tell: Listener = log_only,
    ) -> None:
        """`model` is a name openai-whisper knows or the path of a .pt file."""
        self._name = model
        self._device = device
        self._root = download_root or whisper_folder()
        self._tell = tell
        self._model: Any = None

    def __call__(self, pcm: Pcm) -> str:
        """Text on one line. Raises TranscriptError without weights and without words."""
        self.load()
        text = self._heard(pcm)
        if not text:
            raise NoWordsError("Whisper heard no words in it")
        return text

    def load(self) -> None:
        """Read the weights, if they are not read yet. Raises TranscriptError."""
        if self._model is None:
            self._model = _load(self._weights(), self._device)

    def hear(self, pcm: Pcm, is_wanted: Callable[[], bool] = lambda: True) -> str | None:
        """The English words in it, "" where there are none; None once it is not wanted any more.

        `is_wanted` is asked at each layer. Raises TranscriptError.
        """
        self.load()

        def ask(*_: object) -> None:
            if not is_wanted():
                raise Interrupted("something else is to be done")

        blocks = [*self._model.encoder.blocks, *self._model.decoder.blocks]
        hooks = [block.register_forward_pre_hook(ask) for block in blocks]
        try:
            return self._heard(pcm, language="en")
        except Interrupted:
            return None
        except (RuntimeError, ValueError, MemoryError) as error:  # of torch, and of Whisper itself
            raise TranscriptError(f"Whisper failed ({type(error).__name__}: {error})") from error
        finally:
            for hook in hooks:
                hook.remove()

    def _heard(self, pcm: Pcm, language: str | None = None) -> str:
        """Text on one line, empty where there is none; `language` None is whichever is heard."""
        with warnings.catch_warnings():
            # a GPU being left alone is no news: Whisper on the CPU leaves its memory to the voice
            warnings.filterwarnings("ignore", "Performing inference on CPU when CUDA is available")
            heard = self._model.transcribe(
                resample(pcm, SAMPLE_RATE, WHISPER_RATE),
                verbose=None,
                language=language,
                temperature=0.0,
                condition_on_previous_text=False,
                # with them, a short rest after the last one is decoded by itself, often into a
                # sentence that nobody said
                without_timestamps=True,
                fp16=self._device.startswith("cuda"),
            )
        return " ".join(str(heard["text"]).split())

    def close(self) -> None:
        """Free the model. The next call loads it again."""
        self._model = None

    def _weights(self) -> Path:
        import whisper

        url: str | None = whisper._MODELS.get(
            self._name
        )  # no public function tells a model's file name
        if url is None:
            return _named_file(self._name, whisper.available_models())
        path = self._root / Path(url).name
        if path.is_file():
            return path
        if _offline():
            raise TranscriptError(
                f"{path} is missing and HF_HUB_OFFLINE forbids downloads; {REMEDY}"
            )
        download(url, path, url.split("/")[-2], self._tell)
        return path


def download(url: str, path: Path, sha256: str, tell: Listener) -> None:
    """Fetch a file, whole and verified or not at all. Raises TranscriptError.

    Not left to whisper.load_model: that one waits for ever on a silent network, draws a bar across
    the prompt and keeps half a file under the final name.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source:
            size_mb = int(source.headers.get("Content-Length", 0)) / 1e6
            tell(WhisperDownload(path, size_mb))
            digest = _copy(source, part)
        if digest != sha256:
            raise TranscriptError(
                f"the download of {path} broke off or was altered; try again, or {REMEDY}"
            )
        part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise TranscriptError(
            f"{path} is missing and cannot be downloaded ({error}); {REMEDY}"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _copy(source: http.client.HTTPResponse, target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _load(path: Path, device: str) -> Any:
    import whisper

    try:
        return whisper.load_model(str(path), device=device)
    # what torch.load and the state dict's check answer to a file that is something else
    except (
        OSError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TranscriptError(
            f"{path} is not a Whisper model ({reason}); delete it, or change whisper.model"
        ) from error


def _named_file(name: str, known: list[str]) -> Path:
    path = expanded(name, "whisper.model")
    if not path.is_file():
        raise TranscriptError(
            f"whisper.model: {name!r} is neither a file nor one of {', '.join(known)}"
        )
    return path


def _offline() -> bool:
    # the hub's own variable: whoever sets it means the network, not one host
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
