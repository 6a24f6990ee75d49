"""`find_checkpoint` in its own process: huggingface_hub reads its environment at import."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import astuple

from csm_chat.checkpoint.find import Progress, find_checkpoint
from csm_chat.errors import CsmChatError
from csm_chat.wording import lines_to


def find(model: str, cancel_at: float) -> dict[str, object]:
    notices: list[str] = []
    readings: list[Progress] = []

    def cancelled() -> bool:
        return bool(readings) and readings[-1].done_bytes >= cancel_at

    def progress(reading: Progress) -> None:
        readings.append(reading)
        sys.stderr.write(f"{reading}\n")
        sys.stderr.flush()

    said: dict[str, object] = {}
    try:
        found = find_checkpoint(model, lines_to(notices.append), progress, cancelled)
        said |= {part: str(getattr(found, part)) for part in ("weights", "codec", "tokenizer")}
        said["name"] = found.name
    except CsmChatError as error:
        said |= {"error": type(error).__name__, "message": str(error)}
    return said | {"notices": notices, "progress": [astuple(reading) for reading in readings]}


def main() -> None:
    """Find models one after the other; write what became of them as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--cancel-at", type=float, default=float("inf"), help="bytes")
    options = parser.parse_args()
    sys.stdout.write(json.dumps([find(model, options.cancel_at) for model in options.models]))


if __name__ == "__main__":
    main()
