"""One `find_checkpoint` in its own process: huggingface_hub reads its environment at import."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import astuple

from csm_chat.backends.hub import Progress, find_checkpoint
from csm_chat.errors import CsmChatError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--cancel-at", type=int, help="bytes")
    options = parser.parse_args()
    notices: list[str] = []
    readings: list[Progress] = []
    said: dict[str, object] = {"notices": notices}

    def cancelled() -> bool:
        if options.cancel_at is None or not readings:
            return False
        return readings[-1].done_bytes >= options.cancel_at

    def progress(reading: Progress) -> None:
        readings.append(reading)
        sys.stderr.write(f"{reading.done_bytes}\n")
        sys.stderr.flush()

    try:
        found = find_checkpoint(options.model, notices.append, progress, cancelled)
        parts = {part: str(getattr(found, part)) for part in ("weights", "codec", "tokenizer")}
        said |= {**parts, "name": found.name}
    except CsmChatError as error:
        said |= {"error": type(error).__name__, "message": str(error)}
    said["progress"] = [astuple(reading) for reading in readings]
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
