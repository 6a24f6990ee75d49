"""`csm-chat say` as a process and in parts: what comes out where, and what it answers to misuse."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
import soundfile

from csm_chat.commands.speech.output import Pipe, Recording, check_output
from csm_chat.commands.speech.text_stream import Arriving
from csm_chat.commands.terminal.wording import COMMAND_LINE
from csm_chat.errors import EntryError, TakeError, UsageError
from csm_chat.notices import GapsHeard, SoundLost, TakeStopped
from csm_chat.wording import words
from tests.checkpoints import make_checkpoint
from tests.in_process import Ran, Run
from tests.program import COMMAND, PATIENCE_S, captured, environment, piped
from tests.whisper_checkpoint import make_whisper

needs_alsa = pytest.mark.skipif(
    sys.platform != "linux" or find_library("portaudio") is None,
    reason="needs ALSA and PortAudio",
)
HALF = np.full(1920, 0.5, np.float32)
NAMES = {0: "Ana", 1: "Ben"}


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path) -> Path:
    """A working folder whose config.yaml names the model."""
    config = f"model: {checkpoint}\ndevice: cpu\ndtype: float32\nsampling: {{seed: 7}}\n"
    (tmp_path / "config.yaml").write_text(config + "watermark: {method: off}\n")
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"config.yaml"}


# where it goes


def test_the_folder_of_clips_is_missed_only_where_somebody_named_it(run: Run, folder: Path) -> None:
    usual = run("say", "-o", "a.wav", "Hi.")
    assert usual.code == 0 and "no folder" not in usual.err
    assert "speaker 0 has no voice" in usual.err
    (folder / "scene.txt").write_text("Ana: Hi.\n")
    assert "no folder" not in run("render", "scene.txt").err
    for command in (["say", "-o", "b.wav", "Hi."], ["render", "-o", "again", "scene.txt"]):
        ran = run(*command, "--references", "mine")
        assert ran.err.count("there is no folder mine: no voices yet") == 1, ran.err


def test_a_scene_is_saved_and_its_path_is_all_of_stdout(run: Run, folder: Path) -> None:
    ran = run("say", "-o", "a.flac", "--stats", "Hi there!||Oh,", "hello.")
    assert (ran.code, ran.out) == (0, b"a.flac\n"), ran.err
    pcm, rate = soundfile.read(folder / "a.flac")
    assert rate == 24_000 and len(pcm) % 1920 == 0 and np.abs(pcm).max() > 0.01
    assert "speaker 1  Oh, hello." in ran.err
    for figure in ("first chunk", "chunk times", "RTF", "peak memory"):
        assert f"\n{figure} " in ran.err
    assert names(folder) == {"a.flac"}


def test_a_line_said_several_times_is_what_each_seed_says_alone(run: Run, folder: Path) -> None:
    ran = run("say", "-n", "3", "-o", "a.wav", "Hi there!", "--stats")
    assert (ran.code, ran.out) == (0, b"a-1.wav\na-2.wav\na-3.wav\n"), ran.err
    assert "a-2.wav: " in ran.err and "seed 8" in ran.err and "in 3 turns" in ran.err
    for i, seed in enumerate(("7", "8", "9"), 1):
        assert run("say", "-o", f"{seed}.wav", "--seed", seed, "Hi there!").code == 0
        alone, beside = (soundfile.read(folder / f"{name}.wav")[0] for name in (seed, f"a-{i}"))
        np.testing.assert_allclose(alone, beside, rtol=0, atol=2 / 32768)
    assert run("say", "-n", "2", "-o", "a.wav", "--force", "Oh.").code == 0
    assert len(names(folder)) == 6


@pytest.fixture(scope="module")
def ear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper that hears the same words in any clip."""
    return make_whisper(tmp_path_factory.mktemp("whisper") / "tiny.pt", " Hi there.")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_checked_line_is_made_again_and_told_where_it_stays_wrong(
    run: Run, folder: Path, ear: Path
) -> None:
    good = run("say", "--check", "--whisper", str(ear), "-o", "a.wav", "Hi there!")
    plain = run("say", "-o", "b.wav", "Hi there!")
    assert (good.code, plain.code) == (0, 0), good.err
    ran = run("say", "--check", "--whisper", str(ear), "-o", "c.wav", "Oh, my goodness!")
    assert (ran.code, ran.out) == (0, b"c.wav\n"), ran.err
    assert ran.err.count("it is said again with the next seed") == 2
    told = ran.err.splitlines()
    (last,) = (line for line in told if "the best of 3 takes" in line)
    assert 'heard "Hi there." (3 of 3 words wrong' in last
    ran = run("say", "-n", "2", "--check", "--whisper", str(ear), "-o", "d.wav", "Oh!")
    assert ran.err.count('heard "Hi there." (2 of 1 words wrong') == 2, ran.err


def test_where_nothing_can_be_heard_a_line_is_said_unchecked(run: Run, folder: Path) -> None:
    ran = run("say", "--check", "--whisper", "none.pt", "-o", "a.wav", "Hi there!||Oh.")
    assert ran.code == 0 and names(folder) == {"a.wav"}
    assert ran.err.count("takes go unchecked: whisper.model: 'none.pt' is neither a file") == 1


def test_a_pipe_gets_the_same_samples_as_a_file(run: Run, folder: Path) -> None:
    assert run("say", "--quiet", "-o", "a.wav", "Hi.") == Ran(0, b"a.wav\n", "")
    stream = run("say", "--quiet", "-o", "-", "Hi.")
    bare = run("say", "--quiet", "--raw", "Hi.")
    assert (stream.code, stream.err, bare.code) == (0, "", 0)
    whole = (folder / "a.wav").read_bytes()
    assert stream.out[44:] == bare.out == whole[44:]
    assert stream.out[4:8] == stream.out[40:44] == b"\xff\xff\xff\xff"


@needs_alsa
def test_without_a_file_it_is_heard(folder: Path) -> None:
    flags = ("--set", "audio.start=render")
    ran = piped("", "say", *flags, "Hi there!", folder=folder, sound="alsa-file.conf")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "" and "nothing is saved" in ran.stderr
    assert np.abs(captured(folder)).max() > 300
    assert names(folder) == {"captured.wav"}


def test_what_a_program_writes_is_said_while_it_is_written(folder: Path) -> None:
    env = environment()
    command = [*COMMAND, "say", "-", "--raw", "--quiet"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=env, **pipes) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"The first sentence is long enough. The sec")
        process.stdin.flush()
        first = process.stdout.read(3840)  # it comes while the rest has not been written
        process.stdin.write(b"ond one is, too.")
        process.stdin.close()
        rest = process.stdout.read()
    assert process.returncode == 0
    assert len(first) == 3840 and len(rest) % 3840 == 0 and rest


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # whisper's own word list
def test_context_is_heard_by_the_model_and_transcribed_if_need_be(
    run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sample = Path(__file__).parents[2] / "references" / "reference.wav"
    (folder / "clip.wav").write_bytes(sample.read_bytes())
    whisper = make_whisper(tmp_path_factory.mktemp("whisper") / "whisper.pt")
    flags = ["--set", f"whisper.model={whisper}", "--quiet", "-o"]
    for out, context in {
        "plain.wav": [],
        "given.wav": ["-ia", str(sample), "-it", "This is a sample.", "-is", "0"],
        "heard.wav": ["--context-audio", "clip.wav", "--context-speaker", "0"],
    }.items():
        ran = run("say", *flags, out, *context, "Hi there.")
        assert ran.code == 0, ran.err
    said = {(folder / f"{out}.wav").read_bytes() for out in ("plain", "given", "heard")}
    assert len(said) == 3


def test_only_the_voices_of_who_speaks_are_read(run: Run, folder: Path) -> None:
    sample = Path(__file__).parents[2] / "references"
    pcm, rate = soundfile.read(sample / "reference1.wav")
    (folder / "references").mkdir()
    for number in range(1, 6):
        clip = folder / "references" / f"reference{number}.wav"
        soundfile.write(clip, pcm * (1 - number / 100), rate)
        clip.with_suffix(".txt").write_bytes((sample / "reference1.txt").read_bytes())
    (folder / "references" / "reference6.wav").write_bytes(b"no sound")
    ran = run("say", "-o", "a.wav", "-s", "2", "Hi there.")
    assert ran.code == 0 and ran.err.count("+ reference") == 1
    assert "+ reference2.wav" in ran.err and "reference6" not in ran.err
    given = b"Hi there, all of you.\n\nreference4: So it is, my dear.\n"
    ran = run("say", "-o", "b.wav", "-s", "3", stdin=given)
    assert ran.code == 0 and ran.err.count("+ reference") == 2
    assert ran.err.index("+ reference3.wav") < ran.err.index("+ reference4.wav")
    ran = run("say", "-o", "c.wav", "-s", "6", "Hi there.")
    assert "speaker 6 has a random voice: reference6.wav was refused: " in ran.err


def test_a_rule_in_a_pipe_is_said_to_be_none_to_say_and_no_failure(run: Run, folder: Path) -> None:
    ran = run("say", "-o", "a.wav", stdin=b"Hi there, you.\n\n---\n\nBye.\n")
    assert ran.code == 0 and ran.err.count('nothing to say in "---"; left out\n') == 1
    assert ran.err.count(" seed ") == 2
    ran = run("say", "-o", "b.wav", stdin=b"***\n\n...\n")
    assert ran.code == 2 and "standard input has no word in it" in ran.err
    assert names(folder) == {"a.wav"}


def test_directions_of_a_pipe_are_left_out_and_cost_nothing_else(run: Run, folder: Path) -> None:
    (folder / "lexicon.txt").write_text("no entry\n")
    ran = run("say", "-o", "a.wav", stdin=b"*laughs*\n\nHi there, (sighs) you.\n")
    assert ran.code == 0 and ran.err.count('nothing to say in "*laughs*"; left out\n') == 1
    assert ran.err.count("--set directions=keep") == 1
    assert ran.err.count(" seed ") == 1
    assert ran.err.count("lexicon.txt:1  ") == 1


def test_tags_and_colours_of_a_pipe_are_not_said(run: Run, folder: Path) -> None:
    lines = b"\x1b[1;31mEr\0ror:\x1b[0m <b>no</b> file.\n"
    ran = run("say", "-o", "a.wav", stdin=lines)
    assert ran.code == 0 and "speaker 0  Error: <b>no</b> file." in ran.err


def test_text_from_standard_input_is_a_script(run: Run, folder: Path) -> None:
    lines = b"0 speaks.\n\n||\n\nHi there, all of you!||Hello."
    ran = run("say", "-o", "a.ogg", "--speaker", "4", stdin=lines)
    assert ran.code == 1 and ran.err.count("not said") == 1
    for line in ("4  0 speaks.", "4  Hi there, all of you!", "5  Hello."):
        assert f"speaker {line}" in ran.err
    assert names(folder) == {"a.ogg"}


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["Caf\udce9 noir."], b""),
        (["-"], b"Caf\xe9 noir.\n"),
        (["-"], "Café noir.\n".encode("utf-16")),
        (["-"], "Café noir.\n".encode("utf-16-be")),
    ],
)
def test_letters_of_any_encoding_are_said(run: Run, arguments: list[str], stdin: bytes) -> None:
    ran = run("say", "-o", "a.wav", *arguments, stdin=stdin)
    assert ran.code == 0 and "speaker 0  Café noir." in ran.err
    source = "TEXT" if stdin == b"" else "standard input"
    remark = f"{source} is not UTF-8: read as Windows-1252, check its accents\n"
    assert ran.err.count(remark) == (b"\0" not in stdin)


# misuse


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([""], 2, "nothing to say"),
        (["||"], 2, "nothing to say in this line"),
        (["-o", "a.wav", "-"], 2, "standard input is empty"),
        (["-o", "a.wav", "..."], 2, "TEXT: There is nothing to say"),
        (["-o", "a.wav", "🙂"], 2, "TEXT: There is nothing to say"),
        (["-", "Hi."], 2, "stands alone"),
        (["-o", "a.xyz", "Hi."], 2, ".wav, .flac, .mp3, .ogg"),
        (["-o", "old.wav", "Hi."], 2, "--force"),
        (["-o", "folder.wav", "Hi."], 2, "is a folder"),
        (["-o", "missing/a.wav", "Hi."], 2, "no folder missing"),
        (["-o", "/dev/null", "Hi."], 2, "the ending says the format"),
        (["--raw", "-o", "a.wav", "Hi."], 2, "-o -"),
        (["-n", "0", "-o", "a.wav", "Hi."], 2, "--times 0: give a whole number from 1 to 64"),
        (["-n", "many", "-o", "a.wav", "Hi."], 2, "--times many"),
        (["-n", "2", "Hi."], 2, "--times writes files"),
        (["-n", "2", "-o", "-", "Hi."], 2, "--times writes files"),
        (["-n", "2", "-o", "a.wav", "Hi.||Ho."], 2, "--times says one line, here are 2"),
        (["-n", "2", "-o", "old.wav", "Hi. " * 60], 2, "--times says one turn"),
        (["-n", "9", "-o", "old.mp3", "Hi."], 2, "old-9.mp3: exists already"),
        (["-n", "2", "-o", "a.wav", "-m", "/nowhere", "Hi."], 3, "/nowhere"),
        (["-o", "a.wav", "-s", "nobody", "Hi."], 2, "--speaker"),
        (["-o", "a.wav", "-s", "1000", "Hi."], 2, "0 - 999"),
        (["-o", "a.wav", "-l", "1", "Hi."], 2, "--max-audio-length"),
        (["-o", "a.wav", "--temp", "hot", "Hi."], 2, "sampling.temperature"),
        (["-o", "a.wav", "-kt", "0", "Hi."], 2, "--min-tokens-to-keep"),
        (["-o", "a.wav", "-ia", "none.wav", "Hi."], 4, "none.wav: cannot be opened"),
        (["-o", "a.wav", "-ia", "x.wav", "-it", "a", "-it", "b", "Hi."], 2, "2 times"),
        (["-o", "a.wav", "-m", "/nowhere", "Hi."], 3, "/nowhere"),
        (["-o", "a.wav", "--wrong", "Hi."], 2, "--wrong"),
        (["--audio", "off", "Hi."], 4, "-o FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_told_in_a_line_and_leaves_nothing(
    run: Run, folder: Path, arguments: list[str], code: int, said: str
) -> None:
    (folder / "old.wav").write_bytes(b"old")
    (folder / "old-9.mp3").write_bytes(b"old")
    (folder / "folder.wav").mkdir()
    ran = run("say", *arguments)
    assert (ran.code, ran.out) == (code, b""), ran.err
    last = ran.err.splitlines()[-1]
    assert said in last and last.startswith("csm-chat")
    assert names(folder) == {"old.wav", "old-9.mp3", "folder.wav"}
    assert (folder / "old.wav").read_bytes() == b"old"


def test_without_a_device_and_without_a_file_it_says_so(folder: Path) -> None:
    ran = piped("", "say", "Hi.", folder=folder, sound="alsa-null.conf")
    assert ran.returncode == 4
    assert "-o FILE" in ran.stderr and len(ran.stderr.splitlines()) == 1


def test_a_broken_pipe_ends_it_quietly(folder: Path) -> None:
    line = (
        f"{' '.join(COMMAND)} say --quiet -o - 'A line of a few words.' | head -c 5000 >/dev/null"
    )
    ran = subprocess.run(
        ["bash", "-c", f"{line}; echo ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (ran.stdout, ran.stderr) == ("1\n", "")


def test_ctrl_c_keeps_what_was_said(tmp_path: Path) -> None:
    endless = make_checkpoint(tmp_path / "endless", eos_every=None)
    long = "A line that is long enough to be spoken for quite a while, and then some. " * 9
    flags = ["-m", str(endless), "--set", "watermark.method=off", "-o", "a.wav"]
    command = [*COMMAND, "say", *flags, long]
    part = tmp_path / "a.wav.part"
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not (part.exists() and part.stat().st_size > 8000):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "a.cut.wav" in err.decode() and "Traceback" not in err.decode()
    pcm, _ = soundfile.read(tmp_path / "a.cut.wav")
    assert len(pcm) >= 1920
    assert names(tmp_path) == {"a.cut.wav", "endless"}


# files


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg"])
def test_a_recording_is_whole_or_cut_and_overwrites_only_when_forced(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    for force, cut in ((False, False), (True, False), (True, True)):
        recording = Recording(path, force=force)
        recording.write(HALF * (0.5 if force else 1))
        recording.finish(cut)
    assert names(tmp_path) == {path.name, f"a.cut.{ending}"}
    assert np.abs(soundfile.read(path)[0]).mean() < 0.4
    with pytest.raises(UsageError, match="--force"):
        check_output(path, force=False)


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    for ending in ("wav", "flac"):
        path = tmp_path / f"a.{ending}"
        recording = Recording(path, force=False)
        recording.write(HALF)
        path.write_bytes(b"somebody's")
        assert recording.finish(cut=False) == tmp_path / f"a-2.{ending}"
        assert path.read_bytes() == b"somebody's"


def test_nothing_said_leaves_no_file(tmp_path: Path) -> None:
    for ending in ("wav", "mp3"):
        assert Recording(tmp_path / f"a.{ending}", force=False).finish(cut=True) is None
    assert names(tmp_path) == set()


def test_what_marks_the_sound_marks_all_of_it(tmp_path: Path) -> None:
    class Late:
        """Gives out what it was given a call before, turned round."""

        held = np.zeros(0, np.float32)

        def write(self, pcm: np.ndarray) -> np.ndarray:
            given, self.held = self.held, -pcm
            return given

        def end(self) -> np.ndarray:
            return self.held

    for ending in ("wav", "flac"):
        recording = Recording(tmp_path / f"a.{ending}", force=False, marking=Late())
        for _ in range(3):
            recording.write(HALF)
        recording.finish(cut=False)
        pcm, _ = soundfile.read(tmp_path / f"a.{ending}")
        assert len(pcm) == 3 * 1920 and pcm.max() < -0.4


@pytest.mark.parametrize("ending", ["wav", "flac"])
@pytest.mark.parametrize("is_marked", [True, False])
def test_a_take_that_is_said_again_leaves_no_trace_in_the_file(
    tmp_path: Path, ending: str, is_marked: bool
) -> None:
    class Late:
        """Gives out what it was given, turned round, at the end."""

        held: list[np.ndarray]

        def __init__(self) -> None:
            self.held = []

        def write(self, pcm: np.ndarray) -> np.ndarray:
            self.held.append(-pcm)
            return pcm[:0]

        def end(self) -> np.ndarray:
            out, self.held = np.concatenate([HALF[:0], *self.held]), []
            return out

    path = tmp_path / f"a.{ending}"
    recording = Recording(path, force=False, marking=Late() if is_marked else None)
    for level, is_good in ((0.2, True), (0.4, False), (0.6, False), (0.8, True)):
        recording.settle()
        recording.write(HALF * level)
        recording.write(HALF * level)
        if not is_good:
            recording.take_back()
    recording.finish(cut=False)
    pcm = soundfile.read(path)[0] * (-1 if is_marked else 1)
    assert np.abs(pcm - np.repeat([0.1, 0.4], 2 * len(HALF))).max() < 1e-4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_a_pipe_is_told() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(TakeError, match="standard output: cannot be written"),
    ):
        Pipe(full, "wav").write(HALF)


# text that arrives


def arrived(*texts: str, names: dict[int, str] = NAMES) -> list[tuple[int, str]]:
    refused: list[EntryError] = []
    skipped: list[str] = []
    arriving = Arriving(5, names, "strict", refused.append, skipped.append)
    entries = [entry for text in texts for entry in arriving.feed(text)]
    entries += arriving.close()
    said = [(u.speaker, u.text) for entry in entries for u in entry.utterances]
    said += [(-1, str(error)) for error in refused]
    return said + [(-2, text) for text in skipped]


SCRIPT = (
    "Once upon a time there was a prompt.\nAna: Hello to everybody here. Nice to see you all.\n"
    "Ben: Hi there, nice to meet you!\n\nAnd so it was.||It really was.\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_who_says_what_does_not_depend_on_where_chunks_end(size: int) -> None:
    cut = [SCRIPT[i : i + size] for i in range(0, len(SCRIPT), size)]
    spoken: dict[int, str] = {}
    for speaker, text in arrived(*cut):
        spoken[speaker] = f"{spoken.get(speaker, '')} {text}".strip()
    assert spoken == {
        5: "Once upon a time there was a prompt. And so it was.",
        0: "Hello to everybody here. Nice to see you all.",
        1: "Hi there, nice to meet you!",
        6: "It really was.",
    }


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_colours_are_not_said_wherever_chunks_end(size: int) -> None:
    text = (
        "\x1b[1;31mError:\x1b[0m nothing was found here.\x1b]0;title\x1b\\ \x1b[32mIt"
        " is a word or two.\n\x1b[1mBen\x1b[0m: Hello to everybody.\x1b[K\n"
    )
    said = arrived(*(text[i : i + size] for i in range(0, len(text), size)))
    assert said == [
        (5, "Error: nothing was found here."),
        (5, "It is a word or two."),
        (1, "Hello to everybody."),
    ]


def test_a_piece_without_a_reading_costs_only_itself() -> None:
    said = arrived("|| ||\n\nThis one is fine, and long enough.\n\nThis one is, too, I think.")
    assert [speaker for speaker, _ in said] == [5, 5, -1]


def test_notices_name_flags_where_the_prompt_has_commands() -> None:
    gap = words(GapsHeard(1, 0.4, 0, None), COMMAND_LINE)
    assert gap.endswith("(model is late; --set audio.start=smooth to wait first)")
    lost = SoundLost('audio device "x" does not answer')
    assert words(lost, COMMAND_LINE) == f"{lost.error}; going on without sound"
    stopped = words(TakeStopped("too long"), COMMAND_LINE)
    assert stopped == "stopped: too long. Another --seed may do better"


def test_pauses_gaps_pace_and_level_are_exact_in_the_file_and_the_pipe(
    run: Run, folder: Path
) -> None:
    def said(*arguments: str) -> np.ndarray:
        ran = run("say", "-o", "a.wav", "--force", "--seed", "7", *arguments)
        assert ran.code == 0, ran.err
        return soundfile.read(folder / "a.wav", dtype="float32")[0]

    plain = said("Hi there!||Oh, hello.")
    first = len(said("Hi there!"))
    assert len(said("Hi there! (pause 0.8)||(beat) Oh, hello. (pause 1)")) == len(plain) + 55_200
    assert len(said("--gap", "0.25", "Hi there!||Oh, hello.")) == len(plain) + 6000
    over = said("--gap", "-0.05", "Hi there!||Oh, hello.")
    assert len(over) == len(plain) - 1200
    np.testing.assert_allclose(over[: first - 1200], plain[: first - 1200], atol=1e-6)
    np.testing.assert_allclose(over[first:], plain[first + 1200 :], atol=1e-6)
    quick = run("say", "-o", "b.wav", "--seed", "7", "--speed", "1.25", "Hi there!")
    assert quick.code == 0 and "speed 1.25" in quick.err
    assert soundfile.info(folder / "b.wav").frames == round(first / 1.25)
    soft = said("--gain", "-20", "Hi there!")
    np.testing.assert_allclose(soft, plain[:first] / 10, atol=1e-4)
    piped = run("say", "--quiet", "--raw", "--seed", "7", "--gap", "-0.05", "Hi there!||Oh, hello.")
    assert len(piped.out) == 2 * len(over)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--speed", "3", "Hi."], "--speed: speed: 3 is out of range (0.5 - 2.0, default 1.0)"),
        (["--gain", "loud", "Hi."], '--gain: gain: "loud" is not a number'),
        (["--gap", "-9", "Hi."], "--gap: gap: -9 is out of range (-5.0 - 60.0, default auto)"),
        (["Hi (pause 99) you."], "(pause 99) is no pause: write it as (pause 0.8), in seconds"),
    ],
)
def test_a_shape_that_cannot_be_is_told_in_a_line(
    run: Run, arguments: list[str], told: str
) -> None:
    ran = run("say", "-o", "a.wav", *arguments)
    assert ran.code == 2 and told in ran.err and ran.err.count("\n") == 1
