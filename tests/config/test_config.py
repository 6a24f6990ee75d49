import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from platformdirs import user_config_path

from csm_chat.config.override import from_environment, override, override_live
from csm_chat.config.read import find_config, lines_of, load_config
from csm_chat.config.settings import (
    PRESETS,
    AudioConfig,
    Config,
    ContextConfig,
    SamplingConfig,
    SpeakerConfig,
    keys,
)
from csm_chat.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.yaml"
# what a preset sets is commented out: a key set in the file is set over the preset
SHIPPED_TEXT = re.sub(
    r"^( *)# (?=[a-z_]+: )", r"\1", SHIPPED.read_text(encoding="utf-8"), flags=re.MULTILINE
)
# the same examples each run, however busy the machine
STEADY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NAMES = [key.name for key in keys()]


@pytest.fixture
def config_yaml(tmp_path, monkeypatch):
    """Writes config.yaml into the working folder, where messages give it no folder."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes) -> Path:
        path = Path("config.yaml")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return str(caught.value).split("\n")


# the file in the repository


def shipped_keys() -> dict[str, int]:
    """Dotted names of the shipped file's settings, with their lines."""
    found = {}

    def walk(node: yaml.MappingNode, prefix: str) -> None:
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if isinstance(value, yaml.MappingNode) and value.value:
                walk(value, f"{name}.")
            else:
                found[name] = key.start_mark.line

    walk(yaml.compose(SHIPPED_TEXT, Loader=yaml.SafeLoader), "")
    return found


def test_shipped_file_shows_every_key_in_order_and_no_other():
    assert list(shipped_keys()) == NAMES


def test_shipped_file_holds_the_defaults(config_yaml):
    assert load_config(SHIPPED) == load_config(config_yaml(SHIPPED_TEXT)) == Config()


def test_shipped_file_leaves_to_the_preset_what_presets_set():
    set_by_presets = {name for settings in PRESETS.values() for name in settings}
    assert set_by_presets == {*NAMES} - {"voices", "speakers", *lines_of(SHIPPED)}


def shipped_comments() -> dict[str, str]:
    """What the shipped file says of each setting: on its line and on the comment lines below."""
    lines = SHIPPED_TEXT.splitlines()
    comments = {}
    for name, at in shipped_keys().items():
        below = itertools.takewhile(lambda line: line.startswith("   "), lines[at + 1 :])
        more = [line for line in below if line.strip().startswith("#")]
        comments[name] = " ".join(line.partition("  # ")[2] for line in [lines[at], *more])
    return comments


def test_shipped_file_explains_every_key():
    assert [name for name, comment in shipped_comments().items() if not comment.strip()] == []


def test_shipped_file_names_every_choice_and_range():
    comments = shipped_comments()
    for key in keys():
        words = key.choices or ([key.limits] if key.low is not None and key.high else [])
        assert [word for word in words if word not in comments[key.name]] == [], key.name


# values


def test_empty_file_gives_the_defaults(config_yaml):
    assert load_config(config_yaml("")) == load_config(config_yaml("# none\n---\n")) == Config()


def test_no_file_gives_the_defaults():
    assert load_config(None) == Config()


def test_section_with_everything_commented_out_gives_the_defaults(config_yaml):
    assert load_config(config_yaml("audio:\n  # device: off\nspeaker: 1\n")) == Config(speaker=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("audio: {device: off}", Config(audio=AudioConfig(device="off"))),
        ("audio: {device: on}", Config(audio=AudioConfig(device="on"))),
        ("audio: {device: 3}", Config(audio=AudioConfig(device="3"))),
        ("audio.device: USB 3.0", Config(audio=AudioConfig(device="USB 3.0"))),
        ("device: CPU", Config(device="cpu")),
        ("history: off", Config(history=False)),
        ("history: 'no'", Config(history=False)),
        ("sampling: {seed: random}", Config()),
        ("sampling: {seed: null}", Config()),
        ("sampling: {seed: 010}", Config(sampling=SamplingConfig(seed=10))),
        ("sampling: {temperature: 1e-3}", Config(sampling=SamplingConfig(temperature=0.001))),
        ("sampling: {temperature: 1}", Config(sampling=SamplingConfig(temperature=1.0))),
        ("sampling: {depth_top_k: 5}", Config(sampling=SamplingConfig(depth_top_k=5))),
        ("context: {max_turns: 0}", Config(context=ContextConfig(max_turns=0))),
        ("voices: {0: Ana, 12: Zoë}", Config(voices={0: "Ana", 12: "Zoë"})),
        ("voices: {1: no}", Config(voices={1: "no"})),
        ("\ufeffmodel: ./csm\r\n", Config(model="./csm")),
    ],
)
def test_value_is_read_as_its_key_means_it(config_yaml, text, expected):
    assert load_config(config_yaml(text)) == expected


def test_whole_number_becomes_a_float_where_the_key_is_one(config_yaml):
    assert type(load_config(config_yaml("sampling: {top_p: 1}")).sampling.top_p) is float


# what is wrong

BAD = {
    "unknown key": (
        "audio:\n  latncy: 0.1",
        "config.yaml:2  audio.latncy  unknown key. Did you mean audio.latency_s?",
    ),
    "key of a section at the top": (
        "temperature: 0.5",
        "config.yaml:1  temperature  unknown key. Did you mean sampling.temperature?",
    ),
    "unknown section": (
        "sampligns:\n  seed: 1",
        "config.yaml:1  sampligns  unknown key. Did you mean sampling?",
    ),
    "key like no other": ("zzz: 1", "config.yaml:1  zzz  unknown key."),
    "not a number": (
        "sampling:\n  temperature: hot",
        'config.yaml:2  sampling.temperature: "hot" is not a number (0.0 - 2.0, default 0.9)',
    ),
    "out of range": (
        "sampling: {top_p: 1.5}",
        "config.yaml:1  sampling.top_p: 1.5 is out of range (0.0 - 1.0, default 1.0)",
    ),
    "below the least": (
        "context: {max_turns: -1}",
        "config.yaml:1  context.max_turns: -1 is out of range (0 or more, default 16)",
    ),
    "true for a number": (
        "speaker: true",
        'config.yaml:1  speaker: "true" is not a whole number (0 - 999, default 0)',
    ),
    "a fraction for a whole number": (
        "sampling: {depth_top_k: 1.5}",
        'config.yaml:1  sampling.depth_top_k: "1.5" is not a whole number or null'
        " (0 or more, default null)",
    ),
    "infinity": (
        "sampling: {temperature: inf}",
        'config.yaml:1  sampling.temperature: "inf" is not a number (0.0 - 2.0, default 0.9)',
    ),
    "YAML's own nan": (
        "context: {max_turn_s: .nan}",
        'config.yaml:1  context.max_turn_s: ".nan" is not a number (1.0 - 90.0, default 25.0)',
    ),
    "neither true nor false": (
        "history: 1",
        'config.yaml:1  history: "1" is not true or false (default true)',
    ),
    "bad choice": (
        "device: cudaa",
        'config.yaml:1  device: "cudaa" is not one of auto, cpu, cuda, mps, metal (default auto).'
        " Did you mean cuda?",
    ),
    "no value": ("model:", "config.yaml:1  model: needs a value (default auto)"),
    "list for a value": (
        "model: [a]",
        "config.yaml:1  model: a list is not text (default auto)",
    ),
    "mapping for a value": (
        "speaker: {a: 1}",
        "config.yaml:1  speaker: a mapping is not a whole number (0 - 999, default 0)",
    ),
    "value for a section": (
        "audio: off",
        'config.yaml:1  audio: "off" is not a section: put its keys below it, indented',
    ),
    "list for a section": (
        "voices:\n- Ana",
        "config.yaml:1  voices: a list is not a section: put its keys below it, indented",
    ),
    "key twice": ("speaker: 1\nspeaker: 2", "config.yaml:2  speaker: given twice, first in line 1"),
    "section twice": ("audio: {}\naudio: {}", "config.yaml:2  audio: given twice, first in line 1"),
    "speaker twice": (
        "voices: {1: Ana, 01: Ben}",
        "config.yaml:1  voices.1: given twice, first in line 1",
    ),
    "name for a speaker": (
        "voices: {ana: 1}",
        'config.yaml:1  voices: "ana" is not a speaker number (0 - 999)',
    ),
    "name with an escape code": (
        'voices: {1: "\\e[31mAna"}',
        'config.yaml:1  voices.1: "\\u001b[31mAna" has characters that cannot be printed',
    ),
    "half a character": (
        r'model: "\ud800"',
        r'config.yaml:1  model: "\ud800" has characters that cannot be printed',
    ),
    "key that is no word": (
        "speaker: 0\n? [a]\n: 1",
        "config.yaml:2  a key has to be a word, not a list or mapping",
    ),
    "syntax": (
        "speaker: 0\naudio: [1",
        "config.yaml:2  is not YAML: while parsing a flow sequence,"
        " expected ',' or ']', but got '<stream end>'",
    ),
    "tab": (
        "audio:\n\tdevice: off",
        "config.yaml:2  is not YAML: while scanning for the next token,"
        " found character '\\t' that cannot start any token: indent with spaces",
    ),
    "two documents": (
        "speaker: 0\n---\nspeaker: 1",
        "config.yaml:2  is not YAML: expected a single document in the stream,"
        " but found another document",
    ),
    "control character": (
        "speaker: 0\nmodel: \0",
        "config.yaml:2  is not YAML: character #x0 is not allowed",
    ),
    "not UTF-8": (
        "speaker: 0\nmodel: é".encode("latin-1"),
        "config.yaml:2  is not UTF-8: save the file as UTF-8",
    ),
    "list at the top": ("- speaker: 0", "config.yaml:1  has to hold lines of key: value"),
    "text at the top": ("speaker=0", "config.yaml:1  has to hold lines of key: value"),
}


@pytest.mark.parametrize(("content", "expected"), BAD.values(), ids=BAD)
def test_wrong_file_is_told_by_line_value_and_what_fits(config_yaml, content, expected):
    assert problems(config_yaml(content)) == [expected]


@pytest.mark.parametrize(
    ("content", "n_more"),
    [
        ("speaker: 1\n" * 3_000, 2_979),
        ("".join(f"key{n}: 1\n" for n in range(3_000)), 2_980),
        (f"speaker: *{'a' * 100_000}", 0),
    ],
    ids=["one key again and again", "unknown keys", "a long word"],
)
def test_what_is_wrong_is_told_in_few_lines_however_much_it_is(config_yaml, content, n_more):
    with pytest.raises(ConfigError) as wrong:
        load_config(config_yaml(content))
    lines = wrong.value.lines
    assert len(lines) <= 21 and max(map(len, lines)) < 300
    assert not n_more or lines[-1] == f"and {n_more} more"


def test_everything_wrong_is_told_at_once(config_yaml):
    text = "audio:\n  latncy: 1\nsampling:\n  temperature: hot\n  top_k: -1\nspeaker: x\n"
    told = problems(config_yaml(text))
    assert [line.split()[0] for line in told] == [f"config.yaml:{n}" for n in (2, 4, 5, 6)]


def test_long_value_is_cut_in_the_message(config_yaml):
    (line,) = problems(config_yaml(f"speaker: {'9' * 5000}"))
    assert len(line) < 120


def test_deep_nesting_is_an_error_and_not_a_crash(config_yaml):
    (line,) = problems(config_yaml("[" * 1000))
    assert line.startswith("config.yaml  is not YAML: ")


def test_folder_in_place_of_the_file_is_told(tmp_path):
    assert problems(tmp_path) == [f"{tmp_path}  cannot be read: Is a directory"]


SIGNS = [": ", ":\n", "\n", "  ", "- ", "{", "}", "[", "]", ", ", "? ", "&a ", "*a", "<<", "!!int "]
SIGNS += ["#", '"', "'", "\\u", "\\U", "|", ">", "\t", "%", "---\n", "0", "1.5", "off", "null", "é"]
WORDS = [*NAMES, *(key.tail for key in keys()), "audio", "sampling", "voices"]
YAMLISH = st.lists(st.sampled_from(SIGNS + WORDS)).map("".join)


@STEADY
@given(st.text() | YAMLISH | st.binary())
def test_any_file_gives_settings_or_a_config_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    try:
        assert isinstance(load_config(path), Config)
    except ConfigError as error:
        assert all(line.startswith(str(path)) for line in str(error).split("\n"))


# where the file is


def test_file_asked_for_is_the_one_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.touch()
    assert find_config(path) == path


def test_file_asked_for_has_to_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist"):
        find_config(tmp_path / "none.yaml")


@pytest.fixture
def own_config(tmp_path, monkeypatch):
    """Where the user's own file would be, in an empty home and from an empty working folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return user_config_path("csm_chat") / "config.yaml"


def test_file_beside_you_comes_before_your_own(own_config):
    own_config.parent.mkdir(parents=True)
    own_config.touch()
    assert find_config(None) == own_config
    Path("config.yaml").touch()
    assert find_config(None) == Path("config.yaml")


def test_no_file_anywhere_is_fine(own_config):
    assert find_config(None) is None


# one setting from text


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("sampling.temperature", "0.7", Config(sampling=SamplingConfig(temperature=0.7))),
        ("temperature", "0.7", Config(sampling=SamplingConfig(temperature=0.7))),
        (" Temperature ", " 0.7 ", Config(sampling=SamplingConfig(temperature=0.7))),
        ("device", "cuda", Config(device="cuda")),
        ("audio.device", "off", Config(audio=AudioConfig(device="off"))),
        ("history", "No", Config(history=False)),
        ("seed", "Random", Config()),
        ("voices.3", "Cleo", Config(voices={3: "Cleo"})),
    ],
)
def test_override_sets_one_key_from_text(key, value, expected):
    assert override(Config(), key, value) == expected


def test_override_leaves_the_rest_alone():
    before = Config(voices={0: "Ana"}, sampling=SamplingConfig(seed=4, top_k=9))
    after = override(override(before, "voices.1", "Ben"), "seed", "random")
    assert after == Config(voices={0: "Ana", 1: "Ben"}, sampling=SamplingConfig(top_k=9))
    assert before.voices == {0: "Ana"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("temprature", "1", "temprature  unknown key. Did you mean sampling.temperature?"),
        ("audio", "off", "audio  unknown key."),
        ("voices", "Ana", "voices: one name at a time, as voices.0"),
        ("voices.x", "Ana", 'voices: "x" is not a speaker number (0 - 999)'),
        ("voices.1", " ", "voices.1: needs a value (default no name)"),
        ("top_p", "2", "sampling.top_p: 2 is out of range (0.0 - 1.0, default 1.0)"),
        ("device", "", "device: needs a value (auto, cpu, cuda, mps, metal, default auto)"),
    ],
)
def test_override_refuses_as_the_file_does(key, value, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        override(Config(), key, value)


@STEADY
@given(st.text(), st.text())
def test_any_override_gives_settings_or_a_config_error(key, value):
    try:
        assert isinstance(override(Config(), key, value), Config)
    except ConfigError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "voices"])
@STEADY
@given(value=st.text() | st.integers().map(str) | st.floats().map(str))
def test_any_value_of_any_key_stays_within_its_limits(name, value):
    key = next(key for key in keys() if key.name == name)
    try:
        found = key.read(value)
    except ConfigError as error:
        assert str(error).startswith(f"{name}: ")
        return
    assert type(found) is key.kind or (key.optional and found is None)
    assert not key.choices or found in key.choices
    if key.low is not None and found is not None:
        assert key.low <= found <= (key.high or float("inf"))


# the table of keys


def test_every_key_has_a_default_that_is_valid_and_a_help_text():
    for key in keys():
        assert key.help and key.type_words
        if key.kind is not dict:
            assert key.read(key.default_words) == key.default, key.name


def test_last_part_of_a_key_is_never_ambiguous():
    shared = {tail for tail, n in Counter(key.tail for key in keys()).items() if n > 1}
    assert shared <= set(NAMES)


def test_environment_variables_lie_over_the_file():
    before = Config(speaker=3)
    after = from_environment(
        before, {"CSM_CHAT_SAMPLING_TOP_K": "7", "CSM_CHAT_MODEL": "here", "HOME": "/"}
    )
    assert (after.sampling.top_k, after.model, after.speaker) == (7, "here", 3)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CSM_CHAT_MODELL", "x", "CSM_CHAT_MODEL"),
        ("CSM_CHAT_VOICES", "x", "unknown environment variable"),
        ("CSM_CHAT_SAMPLING_TOP_K", "many", "CSM_CHAT_SAMPLING_TOP_K: sampling.top_k"),
    ],
)
def test_a_wrong_environment_variable_is_named(name, value, said):
    with pytest.raises(ConfigError, match=said):
        from_environment(Config(), {name: value})


# presets


def test_the_default_preset_is_the_defaults():
    assert override(Config(), "preset", "balanced") == Config()


def test_what_is_set_beside_a_preset_wins_whatever_comes_first(config_yaml):
    for lines in (
        ["preset: speed", "audio: {start: smooth}"],
        ["audio: {start: smooth}", "preset: speed"],
    ):
        audio = load_config(config_yaml("\n".join(lines))).audio
        assert (audio.start, audio.chunk_frames) == (
            "smooth",
            PRESETS["speed"]["audio.chunk_frames"],
        )
    environ = {"CSM_CHAT_PRESET": "speed", "CSM_CHAT_AUDIO_START": "render"}
    assert from_environment(Config(), environ).audio.start == "render"


def test_a_preset_chosen_later_sets_its_keys_over_what_was_there(config_yaml):
    config = load_config(config_yaml("audio: {start: smooth}"))
    assert override(config, "preset", "speed").audio.start == PRESETS["speed"]["audio.start"]


# speakers


def test_what_is_set_of_a_speaker_is_kept_by_name_in_any_case_or_by_number(config_yaml):
    text = "speakers:\n  Ana: {speed: 1.1, top_k: 9}\n  007:\n    name: Bond\n    gain: -3\n"
    config = load_config(config_yaml(text))
    assert config.speakers == {
        "ana": SpeakerConfig(speed=1.1, top_k=9),
        "7": SpeakerConfig(name="Bond", gain=-3.0),
    }
    assert config.named == {7: "Bond"}
    assert override(config, "ANA.gain", "2").speakers["ana"] == SpeakerConfig(
        speed=1.1, top_k=9, gain=2.0
    )
    assert lines_of(config_yaml(text))["speakers.7.gain"] == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("speakers:\n  ana: {sped: 1}\n", "config.yaml:2  speakers.ana.sped  unknown key. Did you"),
        ("speakers:\n  ana:\n    speed: 3\n", "config.yaml:3  speakers.ana.speed: 3 is out of"),
        ("speakers:\n  ana: 3\n", 'config.yaml:2  speakers.ana: "3" is not a section'),
        ("speakers:\n  ana: {}\n  Ana: {}\n", "config.yaml:3  speakers.ana: given twice"),
        ("speakers: ana\n", 'config.yaml:1  speakers: "ana" is not a section'),
    ],
)
def test_what_is_wrong_of_a_speaker_is_told_with_its_place(config_yaml, text, told):
    assert problems(config_yaml(text))[0].startswith(told)


def test_a_speakers_name_and_lexicon_are_read_at_the_start():
    assert override_live(Config(), "ana.speed", "1.1").speakers["ana"].speed == 1.1
    for key in ("ana.lexicon", "0.name"):
        with pytest.raises(ConfigError, match="is read at the start"):
            override_live(Config(), key, "x")
