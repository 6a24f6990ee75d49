"""The shape of the package: who imports whom, what loads what, how long and where things are."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "csm_chat"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of the package. `assemble` puts the parts together. What is not listed
# here, as training, may import anything, and since no list names it, no part imports it.
MAY_IMPORT = {
    "errors": (),
    "types": ("errors",),
    "notices": (),
    "wording": ("notices",),
    "plain_files": (),
    "runtime": (),
    "config": ("config", "errors", "types"),
    "audio": ("audio", "plain_files", "notices", "errors", "types"),
    "checkpoint": ("checkpoint", "codec.files", "notices", "errors", "types"),
    "codec": ("codec", "checkpoint", "runtime", "errors", "types"),
    "engine": ("engine", "checkpoint", "runtime", "notices", "errors", "types"),
    "normalise": ("normalise",),
    "voices": ("voices", "audio.clips", "plain_files", "config", "notices", "errors", "types"),
    "conversation": (
        *("conversation", "voices", "normalise", "audio.files", "config"),
        *("notices", "wording", "errors", "types"),
    ),
    "scene": (
        *("scene", "audio.clips", "audio.files", "conversation", "voices", "config"),
        *("errors", "types"),
    ),
    "assemble": (
        *("assemble", "scene", "conversation", "voices", "normalise"),
        *("audio", "engine", "codec", "checkpoint", "runtime", "config"),
        *("notices", "wording", "errors", "types"),
    ),
    "bench": (
        *("bench", "engine", "checkpoint", "codec", "assemble", "conversation.prompt"),
        *("errors", "types"),
    ),
    "repl": ("repl", "conversation", "voices", "config", "notices", "wording", "errors", "types"),
    "api": (
        *("api", "assemble", "conversation", "voices", "audio", "engine", "config"),
        *("notices", "wording", "errors", "types"),
    ),
    "commands": (
        # a turn's line looks as at the prompt
        *("commands", "repl.toolbar", "bench", "assemble", "scene", "conversation", "voices"),
        *("audio", "engine", "checkpoint", "config", "notices", "wording", "errors", "types"),
    ),
    "cli": (
        *("cli", "commands", "repl", "assemble", "conversation.ports", "voices.references"),
        *("config", "notices", "errors", "types"),
    ),
}

# The only files that import a package, at the top or inside a function.
ONLY_IN = {
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
    "soundfile": ("audio/*.py", "training/speech/recordings.py", "training/ears/hear.py"),
    "soxr": ("audio/*.py", "voices/transcribe.py", "training/*.py"),
    "tokenizers": ("conversation/tokenizer.py", "training/*.py"),
    # tensors are what the API takes and gives; it computes with none
    "torch": (
        *("api/*.py", "audio/watermark/*.py", "codec/*.py", "engine/torch/*.py", "runtime.py"),
        *("engine/mlx/engine.py", "bench/*.py", "training/*.py"),
    ),
    "tqdm": ("commands/terminal/console.py",),
    "transformers": ("bench/transformers_timing.py",),
    "whisper": ("voices/transcribe.py",),
    "yaml": ("config/settings.py",),
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
    *("csm_chat", "pyproject.toml", "references", "tests"),
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


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import of a file, those by `import_module("...")` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = (
                    [*path.relative_to(ROOT).parent.parts][: -(level - 1) or None] if level else []
                )
                origin = ".".join([*base, *([module] if module else [])])
                yield from ((node.lineno, f"{origin}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module (`voices.library`) of every import from the package."""
    for line, name in imports(path):
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
        for line, name in imports(path):
            if name.startswith("csm_chat.config.settings") and not name.endswith("Config"):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


def test_each_package_is_imported_where_it_belongs():
    wrong = []
    for path in SOURCES:
        place = path.relative_to(PACKAGE).as_posix()
        for line, name in imports(path):
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


def test_functions_are_under_60_lines_and_modules_under_400():
    long = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if (n_lines := len(text.splitlines())) > 400:
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
