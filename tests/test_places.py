"""Where things are kept: also without a home folder, and nobody else's to read."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from csm_chat import places
from csm_chat.errors import UsageError
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


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b"])
def test_a_name_never_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^script"):
        places.inside(tmp_path, name, "script")


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
