"""bench: its table, its numbers, its plot, the peer beside it, and misuse. No time is judged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csm_chat.bench import dialogue, limit, machine, plot, random_checkpoint
from csm_chat.bench.answers import Reading, Ready
from csm_chat.bench.process import Remote
from csm_chat.bench.report import Figure, Point, Report, limit_figures
from csm_chat.bench.run import Plan
from csm_chat.checkpoint.sizes import parse_sizes
from csm_chat.errors import CsmChatError, UsageError
from tests.failing import Failing
from tests.in_process import Run
from tests.program import COMMAND, PATIENCE_S, environment

SHORT = ("--rows", "40", "--frames", "3", "--said", "60", "--takes", "3")
OF_OURS = {
    *("load_s", "first_sample_s", "first_sample_tenth_s", "prefill_row_ms", "frame_ms"),
    *("backbone_ms", "depth_ms", "rest_ms", "mimi_ms", "rtf", "peak_gb", "frame_read_gb"),
    *("memory_gb_a_s", "limit_ms", "limit_share", "frame_growth", "prefill_growth"),
    *("takes_frame_ms", "takes_gain"),
}
OF_BOTH = {
    *("first_sample_s", "first_sample_tenth_s", "prefill_row_ms", "frame_ms", "mimi_ms", "rtf"),
    "peak_gb",
}
# differences of times
MAY_BE_NOTHING = {"rest_ms", "prefill_row_ms", "prefill_growth", "takes_frame_ms", "takes_gain"}


def test_figures_of_both_sides_and_a_picture(checkpoint: Path, tmp_path: Path) -> None:
    flags = ("--model", str(checkpoint), "--vs", "transformers", "--json", "--plot", "cost.png")
    ran = subprocess.run(
        [*COMMAND, "bench", *flags, *SHORT],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,  # three processes, two frameworks
    )
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    report = json.loads(ran.stdout)
    figures = report["figures"]
    assert figures.keys() == OF_OURS
    assert all(figures[key]["ours"] > 0 for key in OF_OURS - MAY_BE_NOTHING)
    assert {key for key in figures if figures[key]["peer"] is not None} == OF_BOTH
    for key in OF_BOTH - MAY_BE_NOTHING:
        peer, ours = figures[key]["peer"], figures[key]["ours"]
        assert peer > 0 and figures[key]["ratio"] == pytest.approx(peer / ours)
    assert [point["rows"] for point in report["points"]] == [100, 250, 500, 1000, 1500, 2000]
    assert report["model"]["is_random"] is False and report["peer"]["numbers"] == "bfloat16"
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_table_has_a_row_a_figure_and_the_peer_beside() -> None:
    ready = Ready("ana/csm", "", "cpu", "int4", 2048, 2, "torch 2.9.1")
    peer = Ready("transformers", "", "cpu", "bfloat16", 2048, 2, "transformers 5.0.0")
    figures = (Figure("load_s", "start", 4.0), Figure("frame_ms", "frame", 100.0, 450.0))
    points = (Point(100, 80.0, 4.0), Point(2000, 100.0, 4.0))
    report = Report(ready, peer, figures, points)
    assert report.lines(is_random=True)[0] == (
        "ana/csm, random weights, in int4 on cpu, 2 threads, torch 2.9.1"
    )
    assert report.heads() == ("", "csm_chat", "transformers 5.0.0, bfloat16", "times as good")
    assert report.rows() == [
        ("start", "4 s", "-", "-"),
        ("frame", "100 ms", "450 ms", "4.50"),
        ("frame at 2000 rows over at 100", "1.25", "-", "-"),
        ("prompt row at 2000 rows over at 100", "1.00", "-", "-"),
    ]
    alone = Report(ready, None, figures, points)
    lost_in_noise = Report(ready, None, figures, (Point(100, 80.0, 0.0), points[1]))
    assert lost_in_noise.rows()[-1][1] == "-"
    assert alone.heads() == ("", "measured") and alone.rows()[1] == ("frame", "100 ms")


def test_share_of_the_limit_is_the_least_time_over_the_time_taken() -> None:
    least = {
        f.key: f.ours for f in limit_figures(Reading(10**9, 2e10), [Figure("frame_ms", "", 100.0)])
    }
    assert least == {
        "frame_read_gb": 1.0,
        "memory_gb_a_s": 20.0,
        "limit_ms": 50.0,
        "limit_share": 0.5,
    }


def test_a_plan_the_model_has_no_room_for_is_refused() -> None:
    Plan(300, 24, 1000).check(1016)
    with pytest.raises(UsageError, match="take 1016 rows, the model has 1015"):
        Plan(300, 24, 1000).check(1015)
    with pytest.raises(UsageError, match="take 2026 rows, the model has 2025"):
        Plan(2000, 24, 1000).check(2025)


@pytest.mark.parametrize(
    "flags",
    [
        "--rows 0",
        "--frames many",
        "--said -3",
        "--frames 1001",
        "--takes 65",
        "--plot cost.jpg",
        "--plot nowhere/cost.png",
        "--random a --model b",
        "--random {full}",
    ],
)
def test_misuse_gets_one_line(run: Run, tmp_path: Path, flags: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    given = flags.format(full=tmp_path / "full").split()
    ran = run("bench", *given)
    assert ran.code == 2 and ran.text == "", ran.err
    assert ran.err.startswith("csm-chat: ") and ran.err.count("\n") == 1
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_without_a_model_it_says_how_to_measure(run: Run) -> None:
    ran = run("bench", "--model", "nowhere/at-all/here")
    assert ran.code == 3 and ran.text == "" and "Traceback" not in ran.err


def test_ctrl_c_leaves_at_once_and_nothing_runs_on(checkpoint: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "bench", "--model", str(checkpoint), "--frames", "1000"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    measuring = _child(process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and (out, err) == (b"", b"")
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{measuring}").exists():
        assert time.monotonic() < deadline, "the measuring process runs on"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_starts_is_not_reached_by_ctrl_c() -> None:
    code = (
        "import time\n"
        "from multiprocessing import get_context\n"
        "from csm_chat.bench.process import _ctrl_c_is_ours\n"
        "with _ctrl_c_is_ours():\n"
        "    process = get_context('spawn').Process(target=time.sleep, args=(60,))\n"
        "    process.start()\n"
        "print(open(f'/proc/{process.pid}/status').read().split('SigBlk:')[1].split()[0])\n"
        "process.kill()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout, 16) & 1 << (signal.SIGINT - 1)


def _child(process: subprocess.Popen[bytes]) -> int:
    """The measuring process, once it is there."""
    import psutil

    deadline = time.monotonic() + PATIENCE_S
    while True:
        for child in psutil.Process(process.pid).children():
            if "multiprocessing.spawn" in " ".join(child.cmdline()):
                return child.pid
        assert time.monotonic() < deadline and process.poll() is None, "no process measures"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("usage", UsageError, "no"),
        ("defect", CsmChatError, "ZeroDivisionError"),
        ("end", CsmChatError, "exit code 7"),
        ("kill", CsmChatError, "memory runs out"),
    ],
)
def test_failure_in_the_other_process_is_told_in_this_one(how: str, kind, words: str) -> None:
    said: list[str] = []
    with Remote(Failing, how, notify=said.append) as remote, pytest.raises(kind, match=words):
        remote.call("fail")
    assert said == ["here"]


@pytest.mark.parametrize("n_rows", [16, 60, 300, 1000])
def test_a_conversation_has_the_rows_asked_for(n_rows: int) -> None:
    prompt = dialogue.conversation(n_rows, 8, 64)
    assert prompt.tokens.shape == prompt.mask.shape == (n_rows, 9)
    assert (prompt.mask[:, -1] | prompt.mask[:, :-1].all(1)).all()
    assert prompt.mask.any(1).all()


def test_a_frame_reads_what_its_matrices_hold() -> None:
    sizes = parse_sizes({})
    backbone = 16 * 2048 * (2 * (32 + 8) * 64 + 3 * 8192)
    depth = 4 * 1024 * (2 * (8 + 2) * 128 + 3 * 8192) + 1024 * 2048
    heads = 2051 * (2048 + 31 * 1024)
    n_weights = backbone + 31 * depth + heads
    for numbers, n_bytes in (("bfloat16", 2.0), ("int8", 1.03), ("int4", 0.6)):
        ratio = limit.frame_bytes(sizes, numbers, 0) / n_weights / n_bytes
        assert 0.95 < ratio < 1.05, numbers
    assert limit.frame_bytes(sizes, "float16", 100) - limit.frame_bytes(sizes, "float16", 0) == (
        2 * 16 * 8 * 64 * 100 * 2
    )


def test_too_little_memory_is_said_with_both_sizes() -> None:
    with pytest.raises(CsmChatError, match=r"takes about 1000000\.0 GB .* GB are free; buy some"):
        machine.check_memory(1e15, "this", "buy some")
    machine.check_memory(1, "this", "buy some")


def test_random_weights_are_written_where_nothing_is_and_once(tmp_path: Path) -> None:
    assert not random_checkpoint.is_there(tmp_path) and not random_checkpoint.is_there(
        tmp_path / "new"
    )
    (tmp_path / "config.json").write_text(json.dumps(random_checkpoint.CONFIG))
    assert random_checkpoint.is_there(tmp_path)
    with pytest.raises(UsageError, match="is not empty"):
        random_checkpoint.is_there(tmp_path / "config.json")


@pytest.mark.parametrize("name", ["cost.png", "cost.SVG"])
def test_picture_shows_its_points(tmp_path: Path, name: str) -> None:
    points = [Point(100, 0.02, 3.0), Point(2000, 980.0, 0.0)]
    plot.write(tmp_path / name, points, "a <model> & more")
    drawn = (tmp_path / name).read_bytes()
    if name.endswith("png"):
        from PIL import Image

        with Image.open(tmp_path / name) as image:
            assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= {c for _, c in image.getcolors(10**6)}
    else:
        assert b"a &lt;model&gt; &amp; more" in drawn and drawn.count(b"<circle") == 4
    with pytest.raises(CsmChatError, match="too short to draw"):
        plot.write(tmp_path / name, points[:1], "")
