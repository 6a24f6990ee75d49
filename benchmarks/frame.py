"""What a frame costs on this machine, in each format: CSM-1B in full size, with random weights.

Run as `python -m benchmarks.frame DIR MODE ...`, modes being int8, int4, float32, bfloat16 and
float16. DIR keeps the random weights, 3.5 GB, and what is packed of them. It is `csm-chat bench
--random DIR` for one mode after the other; `--vs transformers` and the numbers are those of bench.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from csm_chat.bench.answers import Wanted
from csm_chat.bench.process import Remote
from csm_chat.bench.random_checkpoint import Writer, is_there
from csm_chat.bench.report import Report
from csm_chat.bench.run import Plan, measure
from csm_chat.commands.terminal.console import Console
from csm_chat.commands.terminal.table import table

SHOWN = {
    "load_s": "ready, s",
    "frame_ms": "ms a frame",
    "backbone_ms": "backbone",
    "depth_ms": "depth",
    "rest_ms": "rest",
    "mimi_ms": "Mimi",
    "rtf": "RTF",
    "first_sample_s": "first, s",
    "first_sample_tenth_s": "tenth, s",
    "limit_share": "of the limit",
    "peak_gb": "peak, GB",
}
RATIOS = {"frame_ms": "frame", "first_sample_tenth_s": "tenth's first sample"}


def wanted(mode: str, folder: Path) -> Wanted:
    is_packed = mode.startswith("int")
    dtype, quantize = ("auto", mode) if is_packed else (mode, "none")
    return Wanted(str(folder), "torch", "cpu", dtype, quantize, False, str(folder / "packed"))


def cells(mode: str, report: Report) -> list[str]:
    values = {figure.key: figure.ours for figure in report.figures}
    return [mode, *(f"{value:.3g}" if (value := values.get(key)) else "-" for key in SHOWN)]


def ratios(mode: str, report: Report) -> str:
    found = {figure.key: figure.ratio for figure in report.figures}
    told = ", ".join(f"{name} {found[key]:.1f}" for key, name in RATIOS.items())
    return f"{mode}: transformers' time over ours: {told}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("modes", nargs="*", default=["int8", "int4"], metavar="MODE")
    parser.add_argument("--frames", type=int, default=Plan().n_frames)
    parser.add_argument("--vs", choices=["transformers"])
    options = parser.parse_args()
    console = Console()
    if not is_there(options.folder):
        Remote(Writer, str(options.folder), notify=console.note).close()
    plan, reports = Plan(n_frames=options.frames), {}
    with console.bar(None) as bar:
        for mode in options.modes:
            asked = wanted(mode, options.folder)
            reports[mode] = measure(
                asked, plan, bool(options.vs), console.note, lambda step: bar.update(0, step)
            )
    rows = [cells(mode, report) for mode, report in reports.items()]
    sys.stdout.write(f"{table(('', *SHOWN.values()), rows)}\n")
    if options.vs:
        sys.stdout.writelines(ratios(mode, report) for mode, report in reports.items())


if __name__ == "__main__":
    main()
