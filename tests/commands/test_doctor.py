"""`csm-chat doctor`: a line a check, a fix beside each thing that is wrong, an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.in_process import Run
from tests.program import piped
from tests.voices.test_voices import save, speech

TOKEN = "hf_not-to-be-shown"


def states(run: Run, *flags: str) -> dict[str, tuple[str, str, str]]:
    """State, words and fix by check, the last of a name."""
    checks = json.loads(run("doctor", "--json", *flags).text)
    return {check["name"]: (check["state"], check["found"], check["fix"]) for check in checks}


def test_all_is_well_where_there_is_a_model(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    save(tmp_path / "references" / "reference.wav", speech(4))
    (tmp_path / "references" / "reference.txt").write_text("What is said in it.")
    ran = run("doctor", "--model", str(checkpoint), "--audio", "off")
    assert ran.code == 0 and ran.err == ""
    lines = ran.text.splitlines()
    assert all(line[:4] in ("ok  ", "warn", "FAIL") for line in lines)
    assert not any(line.startswith("FAIL") for line in lines)
    for name in ("python", "packages", "config", "device", "model", "voices", "takes"):
        assert any(line.split()[:2] == ["ok", name] for line in lines), name
    assert all("  -> " in line for line in lines if line.startswith("warn"))


def test_without_csm_1b_it_names_the_built_in_voice_and_says_how_to_get_it(run: Run) -> None:
    state, found, fix = states(run)["model"]
    assert state == "ok" and found.startswith("builtin, ")
    assert fix.startswith("csm-chat download sesame/csm-1b")
    assert states(run, "--model", "builtin")["model"][2] == ""
    assert "a folder or a repository" in states(run, "--model", "/nowhere")["model"][2]
    state, _, fix = states(run, "--model", "a/b@main")["model"]
    assert (state, fix) == ("FAIL", "csm-chat download a/b@main")


def test_what_is_wrong_is_found(run: Run, tmp_path: Path, checkpoint: Path) -> None:
    references = tmp_path / "references"
    references.mkdir()
    save(references / "reference.wav", speech(4), text=None)
    (references / "reference1.wav").write_text("no sound")
    (tmp_path / "file").write_text("in the way")
    found = states(
        run,
        *("--model", str(checkpoint), "--takes", "file/takes", "--device", "cuda"),
        *("--whisper", "nothing", "--set", "watermark.method=off"),
    )
    assert found["transcripts"][:2] == ("warn", "none for reference.wav")
    assert found["voices"][0] == "warn" and "reference1.wav" in found["voices"][1]
    assert found["takes"][0] == "FAIL" and "--takes" in found["takes"][2]
    assert found["whisper"][0] == "warn" and found["watermark"][0] == "warn"
    import torch

    assert torch.cuda.is_available() or found["device"][0] == "FAIL"


def test_a_wrong_config_is_one_finding_among_the_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("spaeker: 1\ntop_k: 1\n")
    ran = run("doctor", "--audio", "off")
    assert ran.code == 1
    first = ran.text.splitlines()[0]
    assert first.startswith("FAIL  config") and "Did you mean speaker?" in first
    assert "config.yaml:2" in first and "\nok    python" in ran.text


def test_a_token_is_seen_and_never_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ran = run("doctor", "--audio", "off")
    assert "hf token    there is one" in ran.text and TOKEN not in ran.text + ran.err


def test_without_a_sound_card_it_says_so_and_looks_at_the_rest(tmp_path: Path) -> None:
    ran = piped("", "doctor", folder=tmp_path, sound="alsa-null.conf")
    assert ran.returncode == 0 and ran.stderr == ""
    assert "warn  sound       no output device" in ran.stdout and "takes" in ran.stdout
