"""voices, devices, transcribe, download and config: their data, their files, and misuse of each."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from csm_chat.commands.terminal.console import Bar, Console
from csm_chat.commands.transcribe import PIECE_S, pieces
from csm_chat.config.read import load_config
from csm_chat.config.settings import Config
from csm_chat.types import SAMPLE_RATE
from tests.checkpoint.test_hub import OPEN, WHOLE
from tests.checkpoint.test_hub import environment as hub_environment
from tests.hub_server import FakeRepo, HubServer
from tests.in_process import Run
from tests.program import COMMAND, captured, environment, piped
from tests.voices.test_voices import save, speech, told_short
from tests.whisper_checkpoint import make_whisper

needs_alsa = pytest.mark.skipif(
    sys.platform != "linux" or find_library("portaudio") is None,
    reason="needs ALSA and PortAudio",
)
# openai-whisper's tokenizer leaves its word list open
leaves_file_open = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = make_whisper(tmp_path_factory.mktemp("whisper") / "whisper.pt")
    return f"whisper.model={path}"


def test_each_command_has_a_help_and_refuses_what_it_does_not_know(run: Run) -> None:
    from csm_chat.commands import COMMANDS

    listed = run("--help").text
    for name in COMMANDS:
        assert f"\n  {name} " in listed
        shown = run(name, "--help")
        assert shown.code == 0 and shown.text.startswith(f"usage: csm-chat {name}")
        assert run(name, "--no-such-flag").code == 2
    wrong = run("sya", "Hi.")
    assert wrong.code == 2 and "Did you mean say?" in wrong.err
    far = run("nosuch")
    assert far.code == 2 and far.out == b""
    first, *lines = far.err.splitlines()
    assert first == 'csm-chat: there is no command "nosuch".'
    assert [line.split()[0] for line in lines] == [*COMMANDS]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("voices", 0),
        ("config", 0),
        ("info --json --audio off", 0),
        ("transcribe nowhere.wav", 4),
        ("verify nowhere.wav", 4),
        ("download ana/no-such-model", 3),
    ],
)
def test_each_command_runs_as_a_process(command: str, code: int, tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "references", tmp_path / "references")
    ran = piped("", *command.split(), folder=tmp_path)
    assert ran.returncode == code, ran.stderr
    assert bool(ran.stdout) == (code < 3) and "Traceback" not in ran.stderr


def test_a_reader_that_goes_away_ends_any_command_quietly(tmp_path: Path) -> None:
    program = f"({' '.join(COMMAND)} config; echo $? >code) | true"
    ran = subprocess.run(
        ["bash", "-c", program], cwd=tmp_path, env=environment(), capture_output=True
    )
    # it may have written all before the reader was gone
    assert (tmp_path / "code").read_text() in ("0\n", "1\n") and ran.stderr == b""


# voices


def test_without_the_usual_folder_there_are_no_voices_and_nothing_to_tell(
    run: Run, tmp_path: Path
) -> None:
    ran = run("voices")
    assert (ran.code, ran.err) == (0, "")
    assert ran.text.split() == [
        "id",
        "name",
        "file",
        "seconds",
        "rows",
        "first",
        "words",
        "remarks",
    ]
    for named in (["--references", "references"], ["--set", "references=other"], ["--play"]):
        ran = run("voices", *named)
        assert ran.code == 1 and "there is no such folder" in ran.err
    (tmp_path / "config.yaml").write_text("references: clips\n")
    assert "clips: there is no such folder" in run("voices").err


def clips(folder: Path) -> Path:
    """A good clip with and one without words, a stereo one, and two that cannot be used."""
    save(folder / "reference.wav", speech(4))
    (folder / "reference.txt").write_text("What this voice is heard to say.")
    stereo = np.stack([speech(4), speech(4)], axis=1)
    soundfile.write(folder / "reference1-ben.wav", stereo, 48_000)
    save(folder / "reference2.wav", np.zeros(48_000, np.float32))
    (folder / "reference3.wav").write_text("no sound")
    return folder


def test_voices_are_listed_with_what_is_wrong_with_them(run: Run, tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    clips(tmp_path / "references")
    ran = run("voices", "--set", "voices.0=Ana")
    assert ran.code == 0, ran.err
    head, ana, ben, silent, broken = ran.text.splitlines()
    assert head.split() == [
        *("id", "name", "file", "seconds", "rows", "first", "words", "remarks"),
    ]
    assert ana.startswith("0   Ana") and "What this voice is ..." in ana
    assert "no transcript" in ben and "stereo 48 kHz" in ben and ben.startswith("1   ben")
    assert "unusable: is silent" in silent and "unusable: not readable" in broken


@needs_alsa
def test_a_voice_can_be_heard_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    clips(tmp_path / "references")
    ran = piped("", "voices", "--play", "ben", folder=tmp_path, sound="alsa-file.conf")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "" and "reference1-ben.wav" in ran.stderr
    assert np.abs(captured(tmp_path)).max() > 1000


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["voices", "--references", "nowhere"], 1, "nowhere: there is no such folder"),
        (["voices", "--play", "9"], 2, "speaker 9 has no clip"),
        (["voices", "--play", "nobody"], 2, '"nobody"'),
        (["voices", "--play", "2"], 4, "is silent"),
        (["voices", "--play", "0", "--audio", "off"], 4, "audio.device is off"),
        (["transcribe", "nowhere.wav"], 4, "nowhere.wav: cannot be opened"),
        (["transcribe", "references"], 4, "is a folder"),
        (["transcribe", "references/reference3.wav"], 4, "not readable as audio"),
        (["transcribe", "--whisper", "nowhere", "references/reference1-ben.wav"], 1, "nowhere"),
        (["transcribe"], 2, "FILE"),
        (["download", "nowhere"], 3, "no folder"),
        (["download", "sesame/csm-1b"], 3, "HF_HUB_OFFLINE"),
        (["config", "--write", "references"], 2, "is a folder"),
        (["config", "--write", "old.yaml"], 2, "--force"),
        (["config", "--write", "/dev/null/config.yaml"], 1, "cannot be saved"),
        (["config", "--preset", "sped"], 2, "Did you mean speed?"),
        (["config", "--config", "wrong.yaml"], 5, "wrong.yaml:1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_told_and_changes_nothing(
    run: Run, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "references").mkdir()
    clips(tmp_path / "references")
    (tmp_path / "old.yaml").write_text("speaker: 3\n")
    (tmp_path / "wrong.yaml").write_text("spaeker: 3\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ran = run(*arguments)
    assert (ran.code, ran.out) == (code, b""), ran.err
    assert said in ran.err and "Traceback" not in ran.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


# devices


@needs_alsa
@pytest.mark.parametrize(
    ("sound", "code", "said"),
    [("alsa-file.conf", 0, "24000 Hz"), ("alsa-null.conf", 4, "no output device")],
)
def test_devices_are_listed_with_the_rate_they_play_at(
    tmp_path: Path, sound: str, code: int, said: str
) -> None:
    ran = piped("", "devices", folder=tmp_path, sound=sound)
    assert ran.returncode == code
    assert said in (ran.stderr if code else ran.stdout)
    if not code:
        assert ran.stdout.splitlines()[1].startswith("0 *")


# transcribe


@leaves_file_open
def test_words_are_written_beside_each_clip_once(run: Run, tmp_path: Path, whisper: str) -> None:
    for name in ("a.wav", "b.flac"):
        save(tmp_path / name, speech(2), text=None)
    (tmp_path / "b.txt").write_text("mine")
    ran = run("transcribe", "--set", whisper, "a.wav", "missing.wav", "b.flac")
    assert (ran.code, ran.out) == (4, b"a.txt\n")
    assert "missing.wav" in ran.err and "b.txt is there" in ran.err
    assert (tmp_path / "a.txt").read_text() == "The sea never stops.\n"
    assert (tmp_path / "b.txt").read_text() == "mine"
    ran = run("transcribe", "--set", whisper, "--stdout", "b.flac")
    assert (ran.code, ran.out) == (0, b"The sea never stops.\n")
    assert run("transcribe", "--set", whisper, "--force", "b.flac").out == b"b.txt\n"
    assert (tmp_path / "b.txt").read_text() == "The sea never stops.\n"


@leaves_file_open
def test_all_of_a_clip_whose_header_says_too_little_is_heard_and_that_is_said(
    run: Run, tmp_path: Path, whisper: str
) -> None:
    told_short(save(tmp_path / "a.wav", speech(2), text=None), 0.5)
    told_short(save(tmp_path / "b.wav", speech(2), text=None), 0)
    ran = run("transcribe", "--set", whisper, "a.wav", "b.wav")
    assert (ran.code, ran.text) == (0, "a.txt\nb.txt\n")
    assert "a.wav: its header tells of 50% of the sound in it: read to its end" in ran.err
    ran = run("verify", "--json", "a.wav", "b.wav")
    assert [each["seconds"] for each in json.loads(ran.text)] == [2.0, 2.0]
    assert "b.wav: its header tells of nothing of the sound in it: read to its end" in ran.err


def test_long_sound_is_heard_in_full_and_cut_where_it_is_quiet() -> None:
    pcm = np.random.default_rng(0).normal(0, 0.1, 70 * SAMPLE_RATE).astype(np.float32)
    for second in (22, 45):
        pcm[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE] = 0
    cut = list(pieces(pcm))
    assert np.array_equal(np.concatenate(cut), pcm)
    assert all(len(piece) <= PIECE_S * SAMPLE_RATE for piece in cut)
    ends_s = np.cumsum([len(piece) for piece in cut]) / SAMPLE_RATE
    assert 22 < ends_s[0] < 23 and 45 < ends_s[1] < 46


# download


def test_a_model_is_downloaded_once_and_its_folder_printed(tmp_path: Path) -> None:
    with HubServer({OPEN: FakeRepo(dict(WHOLE))}) as hub:
        env = hub_environment(tmp_path / "home", hub.url, HF_HUB_OFFLINE="0")
        command = [*COMMAND, "download", OPEN]
        runs = [
            subprocess.run(
                command, cwd=tmp_path, env=env | environment_of_ours(), capture_output=True
            )
            for _ in range(2)
        ]
    first, second = runs
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert (Path(first.stdout.decode().strip()) / "model.safetensors").is_file()
    assert b"downloading" in first.stderr and b"here already" in second.stderr


def environment_of_ours() -> dict[str, str]:
    return {"PYTHONPATH": environment()["PYTHONPATH"]}


# config


def test_each_value_is_shown_with_where_it_comes_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("speaker: 3\nvoices: {1: 'off: #1'}\npreset: speed\n")
    monkeypatch.setenv("CSM_CHAT_TAKES", "said here")
    ran = run("config", "-t", "0.5", "--set", "top_k=7", "-l", "9000", "--no-normalize")
    assert ran.code == 0, ran.err
    origins = {
        setting.strip().split(": ")[0]: remark
        for setting, _, remark in (line.partition("  # ") for line in ran.text.splitlines())
    }
    assert origins["speaker"] == "config.yaml:1" and origins["1"] == "config.yaml:2"
    assert origins["takes"] == "CSM_CHAT_TAKES" and origins["temperature"] == "--temperature"
    assert origins["top_k"] == "--set top_k=7" and origins["max_turn_s"] == "--max-audio-length"
    assert origins["start"] == "preset, config.yaml:3" and origins["top_p"] == "default"
    assert origins["normalize"] == "--no-normalize"
    shown = yaml.safe_load(ran.text)
    assert (shown["voices"], shown["takes"]) == ({1: "off: #1"}, "said here")
    assert (shown["context"]["max_turn_s"], shown["audio"]["start"]) == (9.0, "asap")


def test_what_is_written_reads_back_and_leaves_the_preset_in_charge(
    run: Run, tmp_path: Path
) -> None:
    ran = run("config", "--preset", "quality", "--set", 'voices.2=A "b"', "--write", "mine.yaml")
    assert (ran.code, ran.out) == (0, b"mine.yaml\n")
    saved = load_config(tmp_path / "mine.yaml")
    assert (saved.preset, saved.voices, saved.audio.start) == ("quality", {2: 'A "b"'}, "smooth")
    assert run("config", "--config", "mine.yaml", "--preset", "speed").text.count("asap") == 1
    assert run("config", "--write").out == b"config.yaml\n"
    assert load_config(tmp_path / "config.yaml") == Config()
    assert run("config", "--write", "--force").code == 0


# bars and words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_are_for_terminals_and_words_for_those_who_want_them() -> None:
    for err, quiet in ((io.StringIO(), False), (Terminal(), True)):
        console = Console(err, quiet=quiet)
        with console.bar(10, "s") as bar:
            bar.update(5, "half")
            console.note("said")
        console.warn("wrong")
        assert err.getvalue() == ("wrong\n" if quiet else "said\nwrong\n")


def test_a_terminal_that_does_not_redraw_gets_a_line_a_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    err = Terminal()
    console = Console(err)
    with console.bar(None) as bar:
        for stage in ("downloading 1%", "downloading 2%", "the codec", "the codec", ""):
            bar.update(0, stage)
        console.note("said")
    with Bar(10, "s", err, delay_s=0) as counted:
        counted.update(5, "half")
    assert err.getvalue() == "downloading 1%\nthe codec\nsaid\n"


def test_a_bar_shows_how_far_it_is_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    with Bar(10, "s", err, delay_s=0) as bar:
        time.sleep(0.11)  # it is drawn ten times a second
        bar.update(5, "half")
        bar.grow(20)
        time.sleep(0.11)
        bar.update(99)
    shown = err.getvalue().split("\r")
    assert any("half" in text and "5 of 10 s" in text for text in shown)
    assert any("20 of 20 s" in text for text in shown)
    assert shown[-1] == "" and not shown[-2].strip()
    early = Terminal()
    console = Console(early)
    with console.bar(10, "s") as bar:
        console.note("a note draws the bar before its time")
        bar.update(1)
    assert not early.getvalue().rpartition("\r")[2].strip()
    line = Terminal()
    with Bar(None, err=line) as bar:
        bar.update(0, "the codec")
    assert "the codec" in line.getvalue()
