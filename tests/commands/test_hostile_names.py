"""Each command over names and texts that would steer a terminal: none of it gets through."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from csm_chat.commands import COMMANDS
from tests.in_process import Run
from tests.program import piped
from tests.voices.test_voices import save, speech
from tests.whisper_checkpoint import make_whisper

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems' file names are text without controls"
)

TEXT = "\x1b]0;title\x07\x1b]52;c;Zm9v\x07\x9b31m\x85\x7f\u202e\u2028\nforged\r"
NAME = TEXT + os.fsdecode(b"\xe9\x9b")  # the last byte is CSI to a terminal of 8 bits
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\udc80-\udc9f]"
)
YAML = json.dumps(TEXT)  # text in quotes is the same in YAML

MODEL = ("--model", "model", "--audio", "off")
SAY = ("--model", "model", "--set", "watermark.method=off")
RUNS: tuple[tuple[str, ...], ...] = (
    ("voices",),
    ("voices", "--references", NAME),
    ("voices", "--play", NAME),
    ("voices", "--config", f"{NAME}.yaml"),
    ("voices", "--set", f"speaker={NAME}"),
    ("voices", "--set", NAME),
    ("devices", "--config", NAME),
    ("verify", f"{NAME}.wav", f"{NAME}.txt", NAME),
    ("verify", "--json", f"{NAME}.wav"),
    ("finetune", "convert", NAME, f"{NAME}.json"),
    ("fuse", NAME, "-o", f"{NAME}-fused"),
    ("transcribe", f"{NAME}.wav", f"{NAME}.txt", NAME),
    ("transcribe", "--force", "--whisper", "whisper.pt", f"{NAME}.wav"),
    ("transcribe", "--stdout", "--whisper", "whisper.pt", f"{NAME}.wav"),
    ("transcribe", "--stdout", "--whisper", NAME, f"{NAME}.wav"),
    ("config", "--config", f"{NAME}.good.yaml"),
    ("config", "--config", f"{NAME}.yaml"),
    ("config", "--write", f"{NAME}/new.yaml"),
    ("config", "--write", f"{NAME}.yaml"),
    ("config", "--model", TEXT),
    ("download", NAME),
    ("download", "--config", f"{NAME}.yaml"),
    ("bench", "--model", NAME, "--quiet"),
    ("bench", "--model", "model", "--plot", f"{NAME}/plot.png"),
    ("bench", "--random", f"{NAME}.txt", "--frames", NAME),
    ("doctor", "--audio", "off", "--takes", NAME),
    ("doctor", "--json", "--audio", "off", "--takes", NAME),
    ("info", "--audio", "off", "--config", f"{NAME}.yaml"),
    ("say", *SAY, "-o", f"{NAME}-said.wav", "--stats", f"Hi.{TEXT}||{TEXT}Oh.9"),
    ("say", *SAY, "-o", f"{NAME}.wav", "Hi."),
    ("say", *SAY, "-o", f"{NAME}", "Hi."),
    ("say", *SAY, "-o", "said.wav", "--speaker", NAME, "Hi."),
    ("say", *SAY, "-o", f"{NAME}-n.wav", "-n", "2", "--debug", "Hi."),
    ("say", *SAY, "-o", "said.wav", "-n", NAME, "Hi."),
    ("say", "--model", NAME, "-o", "said.wav", "Hi."),
    ("say", "--model", NAME, "-o", "said.wav", "--debug", "Hi."),
    ("say", f"--{NAME}"),
    ("render", *SAY[:2], f"{NAME}.txt"),
    ("render", *SAY[:2], f"{NAME}.bad.txt", NAME),
    ("render", "--gap", NAME, f"{NAME}.txt"),
    ("render", "--format", NAME, f"{NAME}.txt"),
    (NAME,),
    ("--audio", NAME, *MODEL[:2]),
    MODEL,
    (*MODEL, "--debug"),
    (*MODEL, "--takes", f"{NAME}-takes"),
    ("--model", NAME),
    ("--config", f"{NAME}.yaml"),
)
TYPED = TEXT.replace("\n", "")
LINES = "\n".join(
    [
        "$VOICES$", "$SPEAKER$", f"$SPEAKER {TYPED}$", f"$SAY Hi {TYPED}", f"$CLAER {TYPED}$",
        f"$SET speaker {TYPED}$", f"$AUDIO {TYPED}$", "$STATS$", f"Hi.{TYPED}||{TYPED}Oh.9",
        f"{TYPED}Yes.", "$HISTORY$", "$UNDO$", "$REPLAY 7$",
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Callable[[Path], None]:
    """Puts a model and hostile clips, texts and settings into a folder."""
    whisper = make_whisper(tmp_path_factory.mktemp("whisper") / "whisper.pt", f" Hi{TEXT[:5]}\x9b.")

    def furnish(folder: Path) -> None:
        (folder / "model").symlink_to(checkpoint)
        (folder / "whisper.pt").symlink_to(whisper)
        references = folder / "references"
        references.mkdir()
        clip = save(references / "reference.wav", speech(2), text=TEXT)
        shutil.copy(clip, references / f"reference1-{NAME}.wav")
        (references / f"reference1-{NAME}.txt").write_text(f"One.{TEXT}")
        (references / f"reference2-{NAME}.wav").write_text(NAME, errors="surrogateescape")
        (references / f"reference3-{NAME}.m4a").touch()
        (references / f"{NAME}.ogg").touch()
        shutil.copy(clip, folder / f"{NAME}.wav")
        (folder / f"{NAME}.txt").write_text(f"{NAME}: Hi.||Oh.\n", errors="replace")
        bad = f"$EXIT{TEXT[0]}$\n(pause {TEXT[:3]})\nAna\x1b: \x07\nAna 0\x9b: x\n"
        (folder / f"{NAME}.bad.txt").write_text(bad)
        (folder / f"{NAME}.yaml").write_text(f"{YAML}: 1\nspeaker: {YAML}\nvoices: {{0: {YAML}}}")
        (folder / f"{NAME}.good.yaml").write_text("speaker: 1\nvoices: {0: Ána}\n")

    return furnish


@pytest.fixture
def folder(
    tmp_path: Path, furnished: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    logging.getLogger("csm_chat").setLevel(logging.DEBUG)
    furnished(tmp_path)
    return tmp_path


def assert_harmless(*written: bytes) -> None:
    for data in written:
        text = data.decode("utf-8", "surrogateescape")
        found = STEERING.search(text)
        assert found is None, f"{found[0]!r} in {text!r}"
        assert "\nforged" not in f"\n{text}", text


def test_each_command_is_tried() -> None:
    assert {run[0] for run in RUNS} >= COMMANDS.keys()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # openai-whisper's word list
@pytest.mark.parametrize("arguments", RUNS, ids=lambda run: ascii(" ".join(run))[:60])
def test_nothing_that_steers_a_terminal_is_written(
    run: Run, folder: Path, arguments: tuple[str, ...]
) -> None:
    ran = run(*arguments, stdin=LINES.encode())
    assert ran.code in (0, 1, 2, 3, 4, 5), ran.err
    assert "UnicodeEncodeError" not in ran.err and "ended by a defect" not in ran.err
    for log in (folder / "state").rglob("log*"):
        assert_harmless(log.read_bytes())
    assert_harmless(ran.out, ran.err.encode())
    assert ran.out or ran.err


@pytest.mark.parametrize(
    "arguments", [("voices",), ("config", "--write", f"{NAME}/new.yaml"), MODEL], ids=str
)
def test_names_that_are_no_text_are_written_to_a_stream_that_takes_only_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    ran = piped("$VOICES$\n", *arguments, "--set", f"takes={folder}/takes", folder=folder)
    assert ran.returncode == 0, ran.stderr
    assert r"\xe9" in ran.stdout + ran.stderr or arguments[0] == "config"
    assert_harmless(os.fsencode(ran.stdout), os.fsencode(ran.stderr))


def test_json_stays_json_and_keeps_every_character(run: Run, folder: Path) -> None:
    ran = run("verify", "--json", f"{NAME}.wav")
    assert json.loads(ran.text)[0]["file"] == f"{NAME}.wav"
    assert ran.out.isascii()
