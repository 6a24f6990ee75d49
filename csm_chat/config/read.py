"""Finds config.yaml and reads it into a `Config`; tells every mistake in it with its line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.config.override import SPEAKERS, exact, laid_over, sections, unknown
from csm_chat.config.schema import Key, Value, shown
from csm_chat.config.settings import Config, speaker_key
from csm_chat.errors import ConfigError, first_of
from csm_chat.places import settings_folder

if TYPE_CHECKING:
    from yaml import MappingNode, Node

SHOWN_CHARS = 200  # of what PyYAML says, which quotes the file


def find_config(explicit: Path | None) -> Path | None:
    """The file to read: `explicit`, else ./config.yaml, else the user's own, else none."""
    if explicit is not None:
        if not _is_there(explicit):
            raise ConfigError(f"{explicit} does not exist: give --config a file, or leave it out")
        return explicit
    own = settings_folder()
    places = [Path("config.yaml"), *([own / "config.yaml"] if own else [])]
    return next(filter(_is_there, places), None)


def _is_there(path: Path) -> bool:
    """A file that cannot be looked at is there: reading it tells why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def load_config(path: Path | None) -> Config:
    """A YAML file's settings over the defaults. Raises ConfigError, a line for each thing wrong."""
    if path is None:
        return Config()
    return laid_over(Config(), _read(path).values)


def lines_of(path: Path) -> dict[str, int]:
    """In which line a YAML file sets each of its keys. Raises ConfigError."""
    reading = _read(path)
    return {name: reading.lines[name] for name in reading.values}


def _read(path: Path) -> _Reading:
    root = _compose(path)
    reading = _Reading(path)
    if root is not None:
        reading.mapping(root)
    if reading.problems:
        raise ConfigError(*first_of(reading.problems))
    return reading


def _compose(path: Path) -> MappingNode | None:
    """The file's YAML, None if it has none. Raises ConfigError if it is no mapping."""
    import yaml

    text = _text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # the last three: PyYAML lets them out for "\\UFFFFFFFF", a huge %YAML number, deep nesting
        raise ConfigError(f"{path}{_syntax(text, error)}") from error
    if root is None or _is_null(root):
        return None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:{root.start_mark.line + 1}  has to hold lines of key: value")
    return root


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}  cannot be read: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}  is not UTF-8: save the file as UTF-8") from error


def _syntax(text: str, error: Exception) -> str:
    """Line and words of what PyYAML raised."""
    import yaml
    from yaml.reader import ReaderError

    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f":{line}  is not YAML: character #x{error.character:x} is not allowed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"  is not YAML: {error}"
    mark = error.problem_mark or error.context_mark
    assert mark is not None, error
    words = ", ".join(filter(None, (error.context, error.problem)))
    words = words if len(words) <= SHOWN_CHARS else f"{words[:SHOWN_CHARS]}..."
    advice = ": indent with spaces" if "'\\t'" in words else ""
    return f":{mark.line + 1}  is not YAML: {words}{advice}"


def _is_null(node: Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


class _Reading:
    """Values of one file, and all that is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self.values: dict[str, Value] = {}
        self.lines: dict[str, int] = {}  # where a name was first given
        self._path = path

    def mapping(self, node: MappingNode, prefix: str = "") -> None:
        for key, value in node.value:
            line = key.start_mark.line + 1
            try:
                self._entry(prefix, key, value)
            except ConfigError as error:
                self.problems.append(f"{self._path}:{line}  {error}")

    def _entry(self, prefix: str, key: Node, value: Node) -> None:
        from yaml import ScalarNode

        if not isinstance(key, ScalarNode):
            raise ConfigError("a key has to be a word, not a list or mapping")
        name = f"{prefix}{key.value}"
        if prefix == f"{SPEAKERS}.":
            name = f"{prefix}{speaker_key(key.value)}"
        if name in sections() or prefix == f"{SPEAKERS}.":
            self._once(name, key)
            self._section(name, value)
            return
        known = exact(name)
        if known is None:
            raise unknown(name)
        self._once(known.name, key)
        self.values[known.name] = self._value(known, value)

    def _once(self, name: str, key: Node) -> None:
        if name in self.lines:
            raise ConfigError(f"{name}: given twice, first in line {self.lines[name]}")
        self.lines[name] = key.start_mark.line + 1

    def _section(self, name: str, node: Node) -> None:
        from yaml import MappingNode, ScalarNode

        if isinstance(node, MappingNode):
            self.mapping(node, f"{name}.")
        elif not _is_null(node):  # a section whose keys are all commented out is null
            what = shown(node.value) if isinstance(node, ScalarNode) else "a list"
            raise ConfigError(f"{name}: {what} is not a section: put its keys below it, indented")

    def _value(self, key: Key, node: Node) -> Value:
        from yaml import MappingNode, ScalarNode

        if not isinstance(node, ScalarNode):
            raise key.refuse("a mapping" if isinstance(node, MappingNode) else "a list")
        # the text itself: YAML 1.1 reads a bare off as false, and 3 is a device too
        return key.read("" if _is_null(node) else node.value)
