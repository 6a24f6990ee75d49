"""Where things are kept: also without a home folder, and nobody else's to read."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest

from csm_chat import places
from csm_chat.audio.takes import Takes
from csm_chat.errors import UsageError
from csm_chat.notices import log_only
from csm_chat.scene.folder import turn_file
from csm_chat.types import Segment, Timings, Turn
from tests.program import COMMAND, environment


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the system's list."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_nothing_is_kept_in_the_working_folder() -> None:
    assert places.state_folder() is None
    assert places.cache_folder().is_absolute()
    assert places.whisper_folder().name == "whisper"
    with pytest.raises(UsageError, match=r"^references: '~/clips' .* write the whole path"):
        places.expanded("~/clips", "references")


def test_a_home_that_nobody_has_is_named_with_its_key(tmp_path: Path) -> None:
    command = [*COMMAND, "say", "--set", "references=~nosuchuser/x", "-o", "a.wav", "Hi."]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 5
    assert "references: '~nosuchuser/x' begins with a home folder" in ran.stderr


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0b"])
def test_a_name_never_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^script"):
        places.inside(tmp_path, name, "script")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/x", "\0", "..\\x", "\x1b]0;x"]
)
def test_a_speaker_s_name_never_leads_out_of_the_folder_of_takes(tmp_path: Path, name: str) -> None:
    take = Takes(tmp_path / "takes", log_only).open(name)
    take.write(np.zeros(10, np.float32))
    codes = np.zeros((0, 4), np.int32)
    turn = Turn(Segment(0, "Hi.", codes), 7, "eos", Timings(0.1, 0.1, 0.1))
    path = take.finish(turn, name)
    assert path is not None and path.parent.parent == tmp_path / "takes"
    assert re.fullmatch(r"001-[\w-]+\.wav", path.name)
    assert re.fullmatch(r"turns/001-[\w-]+\.wav", turn_file(1, name))
    assert [each.name for each in tmp_path.iterdir()] == ["takes"]


def test_a_script_of_dots_is_rendered_nowhere(tmp_path: Path) -> None:
    (tmp_path / "...txt").write_text("Hi.\n", encoding="utf-8")
    (tmp_path / "mix.wav").write_bytes(b"mine")
    command = [*COMMAND, "render", "...txt"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2 and "rename the file" in ran.stderr
    assert (tmp_path / "mix.wav").read_bytes() == b"mine"


def test_the_log_is_its_owner_s_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = {"XDG_STATE_HOME": str(tmp_path / "state")}
        command = [*COMMAND, "config"]
        subprocess.run(command, cwd=tmp_path, env=environment() | state, check=True)
    finally:
        os.umask(before)
    log = tmp_path / "state" / "csm_chat" / "log.txt"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
