"""`csm-chat render`: a script said turn by turn, stopped, taken up again, said anew."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import csm_chat
from csm_chat.audio.clips import read_clip
from csm_chat.config.settings import ContextConfig, SamplingConfig
from csm_chat.conversation.reading import Reading
from csm_chat.conversation.session import Session
from csm_chat.errors import EntryError, UsageError
from csm_chat.normalise.lexicon import parse_lexicon
from csm_chat.scene.export import Options, write_scene
from csm_chat.scene.folder import MAX_SEED, SceneFolder
from csm_chat.scene.picks import seed_of
from csm_chat.scene.script import parse_script
from csm_chat.scene.speak import plan, speak, split_turns
from csm_chat.types import Backend, Engine, Frame, Prompt, Sampling, Segment, Voice
from tests.checkpoints import make_checkpoint
from tests.fakes import fake_backend
from tests.in_process import Run
from tests.program import COMMAND, environment
from tests.whisper_checkpoint import make_whisper

SCRIPT = """\
# at the market
Hi there!||Oh, hello.||How are you?0
(pause 0.5)
Cleo: Fine.||Good.
Shall we go?||Where to?
Home. (pause 1) Now.
"""
N_TURNS = 9


def voice(speaker: int, backend: Backend, n_frames: int = 20) -> Voice:
    codes = np.random.default_rng(speaker).integers(1, 30, (n_frames, backend.engine.codebooks))
    return Voice(speaker, "ana", (Segment(speaker, "As it was.", codes.astype(np.int32)),))


class Stage:
    """What a run of the program has: a model of its own and a folder that stays."""

    def __init__(self, backend: Backend, folder: Path, **settings: object) -> None:
        self.session = Session(
            backend,
            (voice(0, backend),),
            # few turns, so that some are dropped from the context on the way
            context=ContextConfig(max_turns=3),
            sampling=replace(SamplingConfig(), **settings),
        )
        self.folder = SceneFolder(folder)

    def render(
        self,
        text: str,
        seed: int = 7,
        stop_after: int | None = None,
        picks: dict[int, int] | None = None,
    ) -> list[bool]:
        """Whether each turn was said now; `stop_after` so many, as Ctrl-C does."""
        script = parse_script(text, Path("market.txt"), 0, {0: "ana"})
        turns = split_turns(script, self.session, 0.35)
        planned = plan(turns, self.session, self.folder, seed, picks or {})
        spoken = []
        for saved in speak(planned, self.session, self.folder, script.names):
            spoken.append(saved)
            if len(spoken) == stop_after:
                break
        else:
            from csm_chat.commands.speech.rendering import scene_turn

            told = [scene_turn(*each, script.names) for each in zip(planned, spoken, strict=True)]
            write_scene(self.folder.path, told, Options(tail_s=script.tail_s), {"seed": seed})
        return [each.saved is None for each in planned]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def load(checkpoint: Path) -> Iterator[object]:
    """A model as a new run of the program has it; bfloat16, where every rounding shows."""
    return lambda: csm_chat.load(checkpoint, device="cpu", dtype="bfloat16")


def test_a_render_taken_up_again_is_the_same_to_the_byte(load, tmp_path: Path) -> None:
    backend = load()
    Stage(backend, tmp_path / "a" / "market").render(SCRIPT)
    for stop_after in (1, 5, 8):
        Stage(backend, tmp_path / "b" / "market").render(SCRIPT, stop_after=stop_after)
    said_now = Stage(load(), tmp_path / "b" / "market").render(SCRIPT)
    assert said_now == [False] * 8 + [True]
    assert files(tmp_path / "a" / "market") == files(tmp_path / "b" / "market")


class Watched:
    """An engine whose calls are counted: rows of the prompt, and of those the ones computed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.rows: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def frames(self, prompt: Prompt, sampling: Sampling) -> Iterator[Frame]:
        yield from self._engine.frames(prompt, sampling)
        self.rows.append((len(prompt.tokens), self._engine.prefilled_rows))


def test_no_turn_is_computed_on_rows_that_another_run_would_not_have(load, tmp_path: Path) -> None:
    backend = load()
    watched = Watched(backend.engine)
    Stage(replace(backend, engine=watched), tmp_path / "market").render("Hi.\nYes.\nNo.\n")
    takes = [(n_rows, n_computed) for n_rows, n_computed in watched.rows if n_rows > 1]
    assert len(takes) == 3 and all(n_rows == n_computed for n_rows, n_computed in takes)


def test_from_the_first_turn_that_changed_on_all_are_said_anew(load, tmp_path: Path) -> None:
    backend = load()
    Stage(backend, tmp_path / "market").render(SCRIPT)
    before = files(tmp_path / "market")
    assert Stage(backend, tmp_path / "market").render(SCRIPT) == [False] * N_TURNS
    assert files(tmp_path / "market") == before
    changed = SCRIPT.replace("Good.", "Very good.")
    said_now = Stage(backend, tmp_path / "market").render(changed)
    assert said_now == [False] * 4 + [True] * 5
    Stage(backend, tmp_path / "afresh" / "market").render(changed)
    assert files(tmp_path / "market") == files(tmp_path / "afresh" / "market")


def test_a_pick_is_another_take_and_only_what_heard_it_is_said_anew(tmp_path: Path) -> None:
    Stage(fake_backend(), tmp_path / "market").render(SCRIPT)
    before = files(tmp_path / "market")
    said_now = Stage(fake_backend(), tmp_path / "market").render(SCRIPT, picks={6: 2})
    assert said_now == [False] * 5 + [True] * 4
    after = files(tmp_path / "market")
    seeds = [turn["seed"] for turn in json.loads(after["scene.json"])["turns"]]
    assert seeds[:5] + seeds[6:] == [7, 8, 9, 10, 11, 13, 14, 15]
    assert seeds[5] not in range(7, 16)
    assert after["turns/006-ana.wav"] != before["turns/006-ana.wav"]
    assert after["turns/004-cleo.wav"] == before["turns/004-cleo.wav"]
    assert not any(Stage(fake_backend(), tmp_path / "market").render(SCRIPT, picks={6: 2}))
    Stage(fake_backend(), tmp_path / "market").render(SCRIPT, picks={6: 1})
    assert files(tmp_path / "market") == before


def test_no_two_takes_of_a_scene_have_the_same_seed() -> None:
    seeds = [seed_of(7, turn, {turn: take}) for turn in range(1, 200) for take in range(1, 9)]
    assert len(set(seeds)) == len(seeds) and max(seeds) <= MAX_SEED
    assert seed_of(MAX_SEED, 2, {}) == 0


def test_pauses_and_names_change_no_turn(tmp_path: Path) -> None:
    Stage(fake_backend(), tmp_path / "market").render(SCRIPT)
    changed = SCRIPT.replace("0.5", "2").replace("Cleo", "Dora")
    assert not any(Stage(fake_backend(), tmp_path / "market").render(changed))
    assert "turns/004-dora.wav" in files(tmp_path / "market")
    assert "turns/004-cleo.wav" not in files(tmp_path / "market")


@pytest.mark.parametrize(
    "change", ["seed", "sampling", "voice", "model", "quantize", "context"], ids=lambda name: name
)
def test_whatever_decides_a_take_makes_it_be_said_anew(change: str, tmp_path: Path) -> None:
    Stage(fake_backend(), tmp_path / "market").render(SCRIPT)
    backend = fake_backend()
    if change == "model":
        backend = replace(backend, name="another")
    if change == "quantize":
        backend = replace(backend, quantize="int4")
    stage = Stage(backend, tmp_path / "market", **({"top_k": 3} if change == "sampling" else {}))
    if change == "voice":
        stage.session.voices = (voice(0, backend, n_frames=21),)
    if change == "context":
        stage.session.context = ContextConfig(max_turns=4)
    assert all(stage.render(SCRIPT, seed=8 if change == "seed" else 7))


def test_turns_of_nothing_but_directions_are_left_out_and_their_pauses_kept() -> None:
    session = Session(fake_backend())
    script = parse_script("Hi.\n(pause 1)\n(laughs)\n(pause 2)\nBye.", Path("a.txt"), 0, {})
    turns = split_turns(script, session, 0.35)
    assert [(turn.utterance.text, turn.pause_s) for turn in turns] == [("Hi.", None), ("Bye.", 3)]
    silent = parse_script("(laughs)", Path("a.txt"), 0, {})
    with pytest.raises(EntryError, match="stage directions are not read"):
        split_turns(silent, session, 0.35)


def test_what_changes_how_a_line_is_read_makes_it_be_said_anew(tmp_path: Path) -> None:
    script = "Hi.\nAsk Nguyen.\n(laughs) Bye.\n"
    Stage(fake_backend(), tmp_path / "market").render(script)
    stage = Stage(fake_backend(), tmp_path / "market")
    stage.session.reading = Reading(lexicon=parse_lexicon(["Nguyen = win"])[0])
    assert stage.render(script) == [False, True, True]
    stage = Stage(fake_backend(), tmp_path / "market")
    stage.session.reading = replace(
        Reading(lexicon=parse_lexicon(["Nguyen = win"])[0]), directions="speak"
    )
    assert stage.render(script) == [False, False, True]


def test_other_weights_of_the_same_size_are_another_model(tmp_path: Path) -> None:
    weights = tmp_path / "voice"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"a" * 1000)
    backend = replace(fake_backend(), path=weights)
    Stage(backend, tmp_path / "market").render(SCRIPT)
    assert not any(Stage(backend, tmp_path / "market").render(SCRIPT))
    (weights / "model.safetensors").write_bytes(b"a" * 999 + b"b")
    assert all(Stage(backend, tmp_path / "market").render(SCRIPT))


def test_a_damaged_turn_is_said_again_and_those_after_it(tmp_path: Path) -> None:
    Stage(fake_backend(), tmp_path / "market").render(SCRIPT)
    before = files(tmp_path / "market")
    for damaged in (b"", b"PK\x03\x04 no more", before["turns/006.npz"][:-30]):
        (tmp_path / "market" / "turns" / "006.npz").write_bytes(damaged)
        said_now = Stage(fake_backend(), tmp_path / "market").render(SCRIPT)
        assert said_now == [False] * 5 + [True] * 4
        assert files(tmp_path / "market") == before


def test_a_take_that_runs_away_is_tried_again_with_the_next_seeds(tmp_path: Path) -> None:
    script = [None, None, 5, None, None, None]
    stage = Stage(fake_backend(script), tmp_path / "market")
    stage.render("Hi.\nYes.\n")
    turns = json.loads((tmp_path / "market" / "scene.json").read_text())["turns"]
    assert [(turn["seed"], turn["ended"]) for turn in turns] == [(9, "eos"), (10, "guard")]
    assert [turn.segment.text for turn in stage.session.turns] == ["Hi."]
    assert turns[1]["end"] > turns[1]["start"]


def test_the_seed_is_drawn_once_and_stays_with_the_folder(tmp_path: Path) -> None:
    drawn = SceneFolder(tmp_path / "market").seed(None)
    assert SceneFolder(tmp_path / "market").seed(None) == drawn
    assert SceneFolder(tmp_path / "market").seed(3) == 3
    assert SceneFolder(tmp_path / "market").seed(None) == 3


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mix.wav").write_bytes(b"mine")
    with pytest.raises(UsageError, match="no render made"):
        SceneFolder(tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        SceneFolder(tmp_path / "mix.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["mix.wav"]


@pytest.mark.parametrize("name", ["mix.wav", "stems/ana.wav", "labels.txt", "scene.json"])
@pytest.mark.parametrize("is_link", [True, False])
def test_nothing_is_replaced_that_no_render_made(tmp_path: Path, name: str, is_link: bool) -> None:
    run = Stage(fake_backend(), tmp_path / "market")
    run.render(SCRIPT, stop_after=1)
    mine = run.folder.path / name
    mine.parent.mkdir(exist_ok=True)
    kept = tmp_path / "kept"
    kept.write_bytes(b"mine")
    if is_link:
        mine.symlink_to(kept)
    else:
        mine.write_bytes(b"mine")
    before = files(run.folder.path)
    with pytest.raises(UsageError, match=r"no render made it.*choose another folder with -o"):
        run.render(SCRIPT)
    after = files(run.folder.path)
    assert mine.read_bytes() == kept.read_bytes() == b"mine"
    assert {path for path in after if not path.startswith("turns/")} == {
        path for path in before if not path.startswith("turns/")
    }
    mine.unlink()
    run.render(SCRIPT)
    again = run.render(SCRIPT)
    assert not any(again) and (run.folder.path / name).exists()


# as it is run


def test_scripts_become_folders_and_paths_of_mixes(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "market.txt").write_text(SCRIPT)
    (tmp_path / "home.txt").write_text("Hi.\n*laughs*\n")
    flags = ["render", "market.txt", "home.txt", "-m", str(checkpoint), "--seed", "3"]
    ran = run(*flags, "--format", "flac")
    assert ran.code == 0, ran.err
    assert ran.text == "renders/market/mix.flac\nrenders/home/mix.flac\n"
    assert "speaker 0, speaker 1, Cleo" in ran.err
    assert 'nothing to say in "*laughs*"; left out' in ran.err
    market = tmp_path / "renders" / "market"
    before = (market / "turns" / "003.npz").stat().st_mtime_ns
    ran = run(*flags, "--gap", "1", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert (market / "turns" / "003.npz").stat().st_mtime_ns == before
    told = json.loads((market / "scene.json").read_text())
    assert told["gap_s"] == 1 and told["watermark"] == "perth"
    assert [path.name for path in market.glob("mix.*")] == ["mix.wav"]


def test_each_speaker_has_the_pace_level_and_words_that_the_config_gives(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "scene.txt").write_text("Ana: Hi, Nguyen.\nBen: Hi, Nguyen.\n")
    (tmp_path / "ana.txt").write_text("Nguyen = win\n")
    speakers = "speakers: {ana: {speed: 1.6, gain: -6, lexicon: ana.txt}}\n"
    (tmp_path / "config.yaml").write_text(speakers + f"model: {checkpoint}\n")
    ran = run("config")
    assert ran.code == 0 and "    lexicon: ana.txt       # config.yaml:1" in ran.text, ran.text
    assert run("render", "scene.txt", "--seed", "1").code == 0
    summary = json.loads((tmp_path / "renders" / "scene" / "scene.json").read_text())
    ana, ben = summary["turns"]
    assert (ana["speed"], ana["gain_db"], ben["speed"], ben["gain_db"]) == (1.6, -6, 1, 0)
    made = read_clip(tmp_path / "renders" / "scene" / "turns" / "001-ana.wav").pcm
    seconds = ana["end_s"] - ana["start_s"]
    assert seconds == pytest.approx(len(made) / 24_000 / 1.6, abs=1e-4)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_take_that_somebody_picked_is_heard_and_not_made_again(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    ear = make_whisper(tmp_path / "tiny.pt", " Hi there.")
    (tmp_path / "scene.txt").write_text("Ana: Hi there!\n\nBen: Oh, hello.\n")
    flags = ("render", "--model", str(checkpoint), "--seed", "1", "scene.txt")
    checked = (*flags, "--check", "--whisper", str(ear))
    summary = tmp_path / "renders" / "scene" / "scene.json"

    def second() -> dict[str, object]:
        return dict(json.loads(summary.read_text())["turns"][1])

    run(*flags)
    plain = second()
    run(*checked)
    assert second()["check"]["tries"] == 3  # type: ignore[index]
    (tmp_path / "scene.txt.picks").write_text("pick: 2 1\n")
    run(*checked)
    picked = second()
    assert picked["check"]["tries"] == 1  # type: ignore[index]
    assert picked["check"]["n_wrong"] == 2  # type: ignore[index]
    assert picked["seed"] == plain["seed"]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_checked_turns_are_told_by_their_line_and_what_was_heard_is_kept(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    ear = make_whisper(tmp_path / "tiny.pt", " Hi there.")
    (tmp_path / "scene.txt").write_text("Ana: Hi there!\n\nBen: Oh, hello.\n")
    checked = ("render", "--model", str(checkpoint), "--seed", "1", "--check")
    command = (*checked, "--whisper", str(ear), "scene.txt")
    ran = run(*command)
    summary = tmp_path / "renders" / "scene" / "scene.json"
    turns = json.loads(summary.read_text())["turns"]
    assert [turn["check"]["heard"] for turn in turns] == ["Hi there."] * 2
    assert turns[1]["check"]["n_wrong"] == 2 and turns[1]["check"]["tries"] == 3
    told = [line for line in ran.err.splitlines() if 'turn 2, heard "Hi there."' in line]
    assert len(told) == 1 and told[0].startswith("scene.txt:3  "), ran.err
    again = run(*command)
    assert "2 of 2 turns were said before" in again.err and 'turn 2, heard "Hi' in again.err
    assert json.loads(summary.read_text())["turns"] == turns


def test_turns_that_never_end_are_told_by_their_line(run: Run, tmp_path: Path) -> None:
    endless = make_checkpoint(tmp_path / "endless", eos_every=None)
    (tmp_path / "market.txt").write_text("# first\nHi.\n")
    ran = run("render", "market.txt", "-m", str(endless), "-q", "--set", "temperature=0")
    assert ran.code == 1
    assert (
        ran.err.startswith('market.txt:2  "Hi." did not end by itself') and ran.err.count("\n") == 1
    )
    assert ran.text == "renders/market/mix.wav\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that breaks")
def test_ctrl_c_keeps_finished_turns_and_a_second_run_goes_on(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "market.txt").write_text("One more line.\n" * 40)
    command = [*COMMAND, "render", "market.txt", "-m", str(checkpoint)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=pipe, stdout=pipe)
    turns = tmp_path / "renders" / "market" / "turns"
    deadline = time.monotonic() + 120
    while not (turns / "002.npz").exists():
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130 and out == b"" and b"Traceback" not in err, err
    told = re.search(rb"market: ([0-9]+) of 40 turns done; run it again to go on\n$", err)
    assert told, err
    kept = {path.name: path.stat().st_mtime_ns for path in turns.iterdir() if path.suffix == ".npz"}
    assert len(kept) == int(told[1]) < 40
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("mix.*"))

    # again, with nobody to read the path: it ends quietly, and the scene is complete
    line = f'{" ".join(command)} --quiet | true; echo "${{PIPESTATUS[0]}}"'
    ran = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (ran.stdout, ran.stderr) == ("1\n", "")
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in turns.iterdir()}.items()
    assert len(json.loads((turns.parent / "scene.json").read_text())["turns"]) == 40


def test_picks_lie_beside_the_script(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "market.txt").write_text("Hi.||Oh.||Yes.\n")
    flags = ["render", "market.txt", "-m", str(checkpoint), "--seed", "3", "-q"]
    assert run(*flags).code == 0
    turns = tmp_path / "renders" / "market" / "turns"
    before = {path.name: path.read_bytes() for path in turns.glob("*.npz")}
    picks = tmp_path / "market.txt.picks"
    picks.write_text("# the second is better\n\nPick: 2 2  # hurried\r\n", encoding="utf-8-sig")
    ran = run(*flags)
    assert (ran.code, ran.err) == (0, "")
    after = {path.name: path.read_bytes() for path in turns.glob("*.npz")}
    changed = [name for name in sorted(before) if after[name] != before[name]]
    assert changed == ["002.npz", "003.npz"]
    told = json.loads((turns.parent / "scene.json").read_text())
    assert told["picks"] == {"2": 2}
    picks.unlink()
    assert run(*flags).code == 0
    assert {path.name: path.read_bytes() for path in turns.glob("*.npz")} == before


def test_picks_that_cannot_be_are_named_by_their_lines(run: Run, tmp_path: Path) -> None:
    (tmp_path / "market.txt").write_text("Hi.||Oh.\n")
    (tmp_path / "home.txt").write_text("Hi.\n")
    picks = tmp_path / "market.txt.picks"
    picks.write_text("pick: 3 2\npick: 0 2\npick 1 2\npick: 1 0\npick: 2 2\npick: 2 3\n")
    (tmp_path / "home.txt.picks").mkdir()
    ran = run("render", "market.txt", "home.txt")
    assert (ran.code, ran.text) == (2, "")
    told = [line for line in ran.err.splitlines() if ".picks" in line]
    assert len(told) == 6 and told[5].endswith("home.txt.picks: cannot be read (is a folder)")
    for line, words in zip(
        told,
        (
            "market.txt.picks:1  there is no turn 3: the script has 2",
            "market.txt.picks:2  there is no turn 0",
            'market.txt.picks:3  "pick 1 2" is no pick: write it as pick: TURN TAKE',
            "market.txt.picks:4  there is no take 0",
            "market.txt.picks:6  turn 2 has a pick already",
        ),
        strict=False,
    ):
        assert words in line
    assert not (tmp_path / "renders").exists()


WRONG = {
    "missing": (["none.txt"], 2, "none.txt: cannot be read"),
    "folder": (["folder"], 2, "is a folder"),
    "empty": (["empty.txt"], 1, "has no line to say"),
    "unreadable": (["bad.txt", "empty.txt"], 1, "bad.txt:2  no voice is called"),
    "same name": (["good.txt", "folder/good.txt"], 2, "would both be rendered"),
    "gap": (["good.txt", "--gap", "-9"], 2, "-9 is out of range (-5.0 - 60.0"),
    "format": (["good.txt", "--format", "aiff"], 2, "aiff"),
    "seed": (["good.txt", "--seed", "x"], 2, "--seed"),
    "flag": (["good.txt", "--jobs", "2"], 2, "--jobs"),
    "setting": (["good.txt", "--set", "speeker=1"], 2, "speaker"),
    "model": (["good.txt", "--model", "nowhere/at/all"], 3, "nowhere"),
    "output": (["good.txt", "-o", "good.txt"], 1, "cannot be made"),
    "not ours": (["good.txt", "-o", "."], 2, "no render made"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_goes_wrong_is_said_before_anything_is_made(
    wrong: str, run: Run, tmp_path: Path
) -> None:
    flags, code, words = WRONG[wrong]
    (tmp_path / "folder").mkdir()
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "mine").write_text("mine")
    for name in ("good.txt", "folder/good.txt"):
        (tmp_path / name).write_text("Hi.\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "bad.txt").write_text("Hi.\ncleo: Hi.\n")
    ran = run("render", *flags)
    assert ran.code == code, ran.err
    assert words in ran.err and "Traceback" not in ran.err
    assert ran.text == ""
    assert not list(tmp_path.rglob("*.wav")) and not list(tmp_path.rglob("*.part"))
