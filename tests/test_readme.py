"""The README says what is so: its commands and samples run, its tables are the program's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from csm_chat import commands
from csm_chat.conversation.grammar import parse
from csm_chat.repl.commands import help_markdown
from tests.program import environment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHELL = [
    line.partition(" #")[0].strip()
    for language, block in FENCED
    if language == "sh"
    for line in block.splitlines()
]
# Exit codes on a machine without network; a command that is not here fails the test below.
CODES = {
    "pip install uv && uv run csm-chat": 0,
    "uv run csm-chat --model sesame/csm-1b": 3,
    "uv run csm-chat --model unsloth/csm-1b": 3,
    "uv run csm-chat --model path/to/folder": 0,
    'uv run csm-chat say -o hello.mp3 "Hi there!||Oh, hello."': 0,
    "echo 'Hello. How are you?' | uv run csm-chat say -o - - > hello.wav": 0,
    'uv run csm-chat say -n 8 -o line.wav "To be, or not to be."': 0,
    "uv run csm-chat render night-market.txt": 0,
    "uv run csm-chat --quantize int8": 0,
    "uv run csm-chat doctor": 0,
    "uv run python -m tests.picture picture.svg": 0,
    # this very run
    "pip install uv && uv run pytest": None,
}


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path) -> Path:
    """A working folder with a model where the README has one."""
    (tmp_path / "path" / "to").mkdir(parents=True)
    (tmp_path / "path" / "to" / "folder").symlink_to(checkpoint)
    (tmp_path / "night-market.txt").write_text("Hi there!||Oh, hello.\n", encoding="utf-8")
    return tmp_path


def test_each_command_is_known_here() -> None:
    assert sorted(SHELL) == sorted(CODES)


@pytest.mark.parametrize("command", [line for line, code in CODES.items() if code is not None])
def test_commands_do_what_they_say(command: str, folder: Path) -> None:
    python = f"{sys.executable} -m csm_chat"
    settings = {"CSM_CHAT_AUDIO_DEVICE": "off"}
    if any(word in command for word in ("say", "render", "--quantize", "doctor")):
        settings["CSM_CHAT_MODEL"] = "path/to/folder"
    line = command.removeprefix("pip install uv && ")
    line = line.replace("uv run csm-chat", python).replace("uv run python", sys.executable)
    ran = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment() | settings,
        input="Hi.\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == CODES[command], ran.stderr


def test_python_samples_run(folder: Path) -> None:
    samples = [block for language, block in FENCED if language == "python"]
    assert samples
    for sample in samples:
        ran = subprocess.run(
            [sys.executable, "-c", sample],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        assert "samples at 24 kHz" in ran.stdout


def test_what_is_typed_at_its_prompt_can_be_read() -> None:
    typed = re.findall(r"^Ana> (.+)$", README, re.MULTILINE)
    assert typed
    for line in typed:
        assert parse(line, 0, {0: "Ana", 1: "Ben"}).utterances


def test_lines_keys_and_commands_are_the_programs_own() -> None:
    section = README.partition("<!-- help -->")[2].partition("<!-- /help -->")[0]
    assert section.strip() == help_markdown()


def test_commands_of_the_shell_are_the_programs_own() -> None:
    section = README.partition("<!-- commands -->")[2].partition("<!-- /commands -->")[0]
    assert section.strip() == commands.markdown()


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\((?!https://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
