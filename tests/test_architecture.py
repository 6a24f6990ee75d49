"""The shape of the package: who imports whom, what loads what, how long and where things are."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.imports import DRAWING, PAGE, drawing, imported

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "csm_chat"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of the package. `assemble` puts the parts together. What is not listed
# here, as training, may import anything, and since no list names it, no part imports it.
MAY_IMPORT = {
    "visible": (),
    "printing": ("visible",),
    "errors": ("visible",),
    "types": ("errors",),
    "notices": ("types",),
    "wording": ("notices", "types", "visible"),
    "plain_files": (),
    "places": ("errors",),
    "leaving": (),
    "runtime": (),
    "shape": ("shape", "normalise", "config", "errors", "types"),
    "config": ("config", "places", "errors", "types"),
    "audio": ("audio", "shape", "plain_files", "places", "notices", "errors", "types", "visible"),
    "checkpoint": ("checkpoint", "plain_files", "notices", "errors", "types"),
    "codec": ("codec", "checkpoint", "runtime", "errors", "types"),
    "engine": ("engine", "checkpoint", "runtime", "notices", "errors", "types"),
    "normalise": ("normalise",),
    "casting": ("casting", "normalise", "errors", "types"),
    "voices": (
        "voices",
        "audio.clips",
        "checkpoint.adapters",
        "normalise",
        "places",
        "plain_files",
        "places",
        "config",
        "notices",
        "errors",
        "types",
        "visible",
    ),
    "checking": (
        *("checking", "audio.clips", "normalise", "config", "notices", "errors", "types"),
    ),
    "conversation": (
        *("conversation", "casting", "checking", "voices", "normalise", "audio.files", "shape"),
        "config",
        *("notices", "wording", "errors", "types", "visible"),
    ),
    "scene": (
        *("scene", "audio.clips", "audio.files", "conversation", "casting", "normalise", "voices"),
        "shape",
        *("plain_files", "places", "config", "errors", "types", "visible"),
    ),
    "assemble": (
        *(
            "assemble",
            "scene",
            "conversation",
            "checking",
            "voices",
            "normalise",
            "places",
            "shape",
        ),
        *("audio", "engine", "codec", "checkpoint", "runtime", "config"),
        *("notices", "wording", "errors", "types"),
    ),
    "bench": (
        *("bench", "engine", "checkpoint", "codec", "assemble", "conversation.prompt"),
        *("errors", "types"),
    ),
    "repl": (
        *("repl", "conversation", "casting", "voices", "leaving", "places", "plain_files"),
        *("config", "shape", "normalise", "notices", "wording", "errors", "types", "visible"),
        "printing",
    ),
    "api": (
        *("api", "assemble", "conversation", "casting", "voices", "audio", "engine", "places"),
        *("config", "shape", "normalise", "notices", "wording", "errors", "types"),
    ),
    "finetune": ("finetune", "voices.file_names", "plain_files", "errors", "types"),
    "commands": (
        # a turn's line looks as at the prompt
        *("commands", "repl.toolbar", "bench", "assemble", "scene", "conversation", "voices"),
        *("casting", "checking", "finetune", "normalise", "places", "plain_files", "shape"),
        "visible",
        "printing",
        *("audio", "engine", "checkpoint", "config", "notices", "wording", "errors", "types"),
    ),
    "cli": (
        *("cli", "commands", "repl", "assemble", "conversation.ports", "voices.references"),
        *("leaving", "places", "printing", "config", "notices", "errors", "types"),
    ),
}

# The only files that import a package, at the top or inside a function.
ONLY_IN = {
    "audiotsm": ("shape/stretch.py",),
    "huggingface_hub": ("checkpoint/find.py", "checkpoint/hub/*.py"),
    "mlx": ("engine/mlx/*.py",),
    "onnx": ("engine/torch/quantised/*.py", "training/speech/teacher/graphs.py"),
    "onnxruntime": ("engine/torch/quantised/*.py", "training/speech/teacher/kokoro.py"),
    "moshi": ("training/*.py", "bench/random_checkpoint.py"),
    "PIL": ("bench/plot.py",),
    "prompt_toolkit": ("repl/*.py",),
    "psutil": ("bench/machine.py",),
    "pyloudnorm": ("scene/mix.py",),
    "safetensors": (
        *("checkpoint/*.py", "codec/*.py", "engine/*.py"),
        *("bench/random_checkpoint.py", "training/*.py"),
    ),
    "sounddevice": ("audio/*.py",),
    "soundfile": ("audio/*.py", "training/*.py"),
    "soxr": ("audio/*.py", "voices/transcribe.py", "training/*.py"),
    "tokenizers": ("conversation/tokenizer.py", "training/*.py"),
    # tensors are what the API takes and gives; it computes with none
    "torch": (
        *(
            "api/*.py",
            "audio/watermark/*.py",
            "checking/likeness.py",
            "codec/*.py",
            "engine/torch/*.py",
            "runtime.py",
        ),
        *("engine/mlx/engine.py", "bench/*.py", "training/*.py"),
    ),
    "tqdm": ("commands/terminal/console.py",),
    "transformers": ("bench/transformers_timing.py",),
    "whisper": ("voices/transcribe.py",),
    "yaml": ("config/read.py",),
}

FRAMEWORKS = {
    "huggingface_hub",
    "mlx",
    "moshi",
    "onnx",
    "onnxruntime",
    "sounddevice",
    "torch",
    "transformers",
    "whisper",
}
LOADS_NONE_OF = {
    "csm_chat": FRAMEWORKS | {"numpy", "prompt_toolkit", "yaml"},
    "csm_chat.api.chat": FRAMEWORKS,
    "csm_chat.api.generator": FRAMEWORKS,
    "csm_chat.cli": FRAMEWORKS | {"numpy", "prompt_toolkit", "yaml"},
    "csm_chat.commands.bench": FRAMEWORKS | {"numpy", "prompt_toolkit", "tqdm", "yaml"},
    "csm_chat.commands.say": FRAMEWORKS | {"numpy", "prompt_toolkit", "tqdm", "yaml"},
    "csm_chat.commands.doctor": FRAMEWORKS | {"numpy", "prompt_toolkit", "tqdm", "yaml"},
    "csm_chat.repl.app": FRAMEWORKS,
}

TOP_LEVEL = {
    *(".ci", ".gitattributes", ".gitignore", "LICENSE", "README.md", "benchmarks", "config.yaml"),
    *("CONTRIBUTING.md", "csm_chat", "docs", "pyproject.toml", "references", "tests"),
}
NOT_OURS = {
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "uv.lock",
}


def module_name(path: Path) -> str:
    """`voices.library` for csm_chat/voices/library.py, an empty string for the package itself."""
    return (
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        .removesuffix("__init__")
        .strip(".")
    )


MODULES = {module_name(path): path for path in SOURCES}


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module (`voices.library`) of every import from the package."""
    for line, name in imported(path):
        package, _, inner = name.partition(".")
        if package == PACKAGE.name:
            yield line, inner if inner in MODULES else inner.rpartition(".")[0]


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def test_imports_point_down():
    wrong = []
    for module, path in MODULES.items():
        part = next((part for part in MAY_IMPORT if within(module, part)), None)
        if part is None:
            continue
        for line, found in own_imports(path):
            if not any(within(found, allowed) for allowed in MAY_IMPORT[part]):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {found or 'csm_chat'}")
    assert wrong == []


def test_conversation_knows_settings_as_types_only():
    wrong = []
    for path in (*(PACKAGE / "conversation").glob("*.py"), *(PACKAGE / "voices").glob("*.py")):
        for line, name in imported(path):
            if name.startswith("csm_chat.config.") and not name.endswith("Config"):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


def test_each_package_is_imported_where_it_belongs():
    wrong = []
    for path in SOURCES:
        place = path.relative_to(PACKAGE).as_posix()
        for line, name in imported(path):
            places = ONLY_IN.get(name.partition(".")[0], ("*",))
            if not any(fnmatch(place, allowed) for allowed in places):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


@pytest.mark.parametrize(
    "module", [name for name in LOADS_NONE_OF if name.partition(".")[2] in MODULES]
)
def test_importing_loads_nothing_heavy(module):
    code = f"import {module}, json, sys; print(json.dumps([*sys.modules]))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert set(json.loads(ran.stdout)) & LOADS_NONE_OF[module] == set()


TABLES = ("notices.py",)  # one entry after the other, however many


def test_functions_are_under_60_lines_and_modules_under_400():
    long = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if (n_lines := len(text.splitlines())) > 400 and path.name not in TABLES:
            long.append(f"{path.relative_to(ROOT)}: {n_lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_lines = node.end_lineno - node.lineno + 1
                if n_lines > 60:
                    long.append(
                        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {n_lines} lines"
                    )
    assert long == []


def tracked() -> list[Path]:
    """The repository's files, relative to its root: git's own list, or all there is without git."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [
            path for name in listed.stdout.split("\0") if (ROOT / (path := Path(name))).is_file()
        ]
    return [
        path.relative_to(ROOT)
        for top in ROOT.iterdir()
        if top.name not in NOT_OURS
        for path in ([top] if top.is_file() else top.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def test_top_level_holds_what_a_reader_expects():
    assert {path.parts[0] for path in tracked()} - TOP_LEVEL == set()


def test_no_file_names_a_place_on_somebodys_machine():
    # put together here, so that this file is not one of those found
    needles = [f"/{folder}/" for folder in ("work", "root", "Users")]
    wrong = []
    for path in tracked():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            found = [needle for needle in needles if needle.encode() in content]
            wrong += [f"{path}: {needle}" for needle in found]
    assert wrong == []


def test_continuous_integration_runs_the_command_of_the_readme():
    command = (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().splitlines()[-1]
    assert command in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_the_drawing_is_of_the_code_as_it_is():
    drawn = DRAWING.search(PAGE.read_text(encoding="utf-8"))
    assert drawn is not None
    assert drawn[0] == drawing(), "draw it anew: uv run python -m tests.imports"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_each_file_that_a_page_names_is_there(page):
    named = re.findall(r"`([\w./]+\.(?:py|md|tsv|yaml))`", (ROOT / page).read_text("utf-8"))
    assert len(named) > 10
    places = (ROOT, PACKAGE, PACKAGE / "engine" / "torch" / "quantised")
    assert [name for name in named if not any((each / name).is_file() for each in places)] == []


def test_each_folder_says_what_to_read_first():
    for path in PACKAGE.rglob("__init__.py"):
        words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = re.search(r"[Rr]ead (\w+\.py|the table below) first", words)
        if path.parent != PACKAGE:
            assert first is not None, f"{path.relative_to(ROOT)} does not say what to read first"
            assert first[1] == "the table below" or path.with_name(first[1]).is_file(), path


# What answers its parent process in JSON, which is ASCII.
WRITES_TO_A_PROCESS = "checkpoint/hub/process.py"


def written_past_printing(tree: ast.Module) -> Iterator[ast.AST]:
    """`print`, a write to a standard stream, a stream handed to what writes, a traceback."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "pprint")):
                yield node
            case ast.Attribute(
                value=ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"),
                attr="write" | "writelines",
            ):
                yield node
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Name(id="json" | "traceback" | "tqdm" | "pprint"),
                    attr="dump" | "print_exc" | "print_exception" | "print_tb" | "write" | "pprint",
                )
            ):
                yield node


@pytest.mark.parametrize(
    "code",
    ["print(1)", "sys.stderr.write('')", "json.dump(1, sys.stdout)", "tqdm.write('')"],
)
def test_writing_past_the_one_place_is_seen(code):
    assert len([*written_past_printing(ast.parse(code))]) == 1


def test_one_place_writes_to_the_terminal():
    wrong = []
    for path in SOURCES:
        place = path.relative_to(PACKAGE).as_posix()
        if place not in ("printing.py", WRITES_TO_A_PROCESS):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            wrong += [f"{place}:{node.lineno}" for node in written_past_printing(tree)]
    assert wrong == []


# What a module's opening says it does not know, as what it then may not import.
UNKNOWN = {
    "framework": ("torch", "mlx", "moshi", "onnxruntime", "transformers"),
    "model": ("csm_chat.engine.*.engine", "csm_chat.engine.*.model", "csm_chat.assemble"),
    "CSM": ("csm_chat.engine", "csm_chat.checkpoint.weights", "csm_chat.training.csm"),
    "codec": ("csm_chat.codec", "csm_chat.training.codec"),
    "file": ("csm_chat.audio.files", "csm_chat.plain_files", "safetensors", "shutil", "soundfile"),
    "device": ("csm_chat.audio.device", "csm_chat.audio.player", "sounddevice"),
    "player": ("csm_chat.audio.player",),
    "terminal": ("csm_chat.commands.terminal", "csm_chat.repl.app", "prompt_toolkit"),
    "command": ("csm_chat.commands", "csm_chat.repl.commands"),
    "front end": ("csm_chat.api", "csm_chat.cli", "csm_chat.commands", "csm_chat.repl"),
    "text": ("csm_chat.conversation", "csm_chat.normalise", "tokenizers"),
    "audio": ("csm_chat.audio", "soundfile", "soxr"),
    "sound": ("csm_chat.audio", "soundfile", "soxr"),
    "take": ("csm_chat.audio.takes", "csm_chat.conversation.take"),
    "loss": ("csm_chat.training.codec.losses", "csm_chat.training.csm.losses"),
    "data": ("csm_chat.training.codec.data", "csm_chat.training.csm.batch"),
    "corpus": ("csm_chat.training.speech.corpus",),
}


END = "(?=,| and | nor | or |$)"


def claims() -> Iterator[tuple[Path, str]]:
    for path in SOURCES:
        opening = " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split())
        if path.name == "__init__.py":  # what a folder may import, MAY_IMPORT says
            continue
        for sentence in re.findall(r"\b[Kk]nows? (?:no|neither) [^.:;]*", opening):
            nouns = re.findall(
                r"\b(?:no|neither|nor|or) ([a-zA-Z ]+?)(?=,| and | nor | or |$)", sentence
            )
            yield from ((path, noun) for noun in nouns)


@pytest.mark.parametrize(
    ("path", "noun"), list(claims()), ids=lambda each: getattr(each, "stem", each)
)
def test_what_a_module_says_it_does_not_know_it_does_not_import(path: Path, noun: str) -> None:
    modules = {name for _, name in imported(path)}
    noun = noun if noun in UNKNOWN else noun.removesuffix("s")
    known = [
        name
        for name in modules
        for unknown in UNKNOWN[noun]
        if fnmatch(name, unknown) or fnmatch(name, f"{unknown}.*")
    ]
    assert known == []
