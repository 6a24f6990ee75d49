"""Text to ids, to sentences, to pieces and to seconds."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from csm_chat.conversation.tokenizer import estimate_s, load_tokenizer, sentences, split_text
from csm_chat.errors import CheckpointError
from tests.checkpoints import make_checkpoint

# close to what people type, so that marks, spaces and digits meet often
TYPED = st.text(alphabet=st.sampled_from("ab Mr.No,;:!?…—\"')]19é\n\t"), max_size=80)
ANY = st.one_of(st.text(max_size=80), TYPED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("tiny"), "sesame")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def raw(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_ids_are_start_speaker_text_end(tokenizer, raw):
    ids = tokenizer.encode("Hello there.", 3)
    assert ids.dtype == np.int32
    assert raw.decode(ids.tolist(), skip_special_tokens=False) == (
        "<|begin_of_text|>[3]Hello there.<|end_of_text|>"
    )
    assert ids[0] == raw.token_to_id("<|begin_of_text|>")
    assert ids[-1] == raw.token_to_id("<|end_of_text|>")


@given(st.one_of(ANY, st.sampled_from(["<|end_of_text|>", "a <|begin_of_text|><|AUDIO|> b"])))
def test_any_text_survives_and_never_makes_a_special_id(tokenizer, raw, text):
    ids = tokenizer.encode(text, 0)
    special = [raw.token_to_id(name) for name in ("<|begin_of_text|>", "<|end_of_text|>")]
    special += [raw.token_to_id("<|AUDIO|>"), raw.token_to_id("<|audio_eos|>")]
    assert not set(ids[1:-1].tolist()) & set(special)
    assert raw.decode(ids[1:-1].tolist()) == f"[0]{text}"


def test_ids_fit_the_text_table(folder, raw):
    config = json.loads((folder / "config.json").read_text())
    assert raw.get_vocab_size() == config["text_vocab_size"]


def test_the_files_own_settings_change_nothing(folder, tokenizer, tmp_path):
    from tokenizers.processors import TemplateProcessing

    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    start = ("<|begin_of_text|>", raw.token_to_id("<|begin_of_text|>"))
    raw.post_processor = TemplateProcessing("<|begin_of_text|> $A", special_tokens=[start])
    raw.enable_truncation(4)
    raw.enable_padding(length=100)
    raw.save(str(tmp_path / "tokenizer.json"))
    other = load_tokenizer(tmp_path)
    np.testing.assert_array_equal(other.encode("Hello.", 1), tokenizer.encode("Hello.", 1))


def test_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: missing"):
        load_tokenizer(tmp_path)


def test_unreadable_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: cannot be read") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_tokenizer_of_another_model_is_refused(folder, tmp_path):
    text = (folder / "tokenizer.json").read_text().replace("<|end_of_text|>", "</s>")
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"has no <\|end_of_text\|>"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n ", []),
        ("Hello", ["Hello"]),
        ("Hi. How are you? Fine!", ["Hi.", "How are you?", "Fine!"]),
        ("Well… Yes... No?! Go.", ["Well…", "Yes...", "No?!", "Go."]),
        ('He said "Stop!" (Why?) Then [go.]', ['He said "Stop!"', "(Why?)", "Then [go.]"]),
        ("“Stop.” He did.", ["“Stop.”", "He did."]),
        ("It is 3.14 or v2.0.1 now. Yes.", ["It is 3.14 or v2.0.1 now.", "Yes."]),
        ("Mr. and Mrs. J. R. Smith vs. Dr. Who.", ["Mr. and Mrs. J. R. Smith vs. Dr. Who."]),
        ("Tools, e.g. a saw, at 5 p.m. today.", ["Tools, e.g. a saw, at 5 p.m. today."]),
        ("See No. 5. No. I won't.", ["See No. 5.", "No.", "I won't."]),
        ("all lower. case too.", ["all lower.", "case too."]),
        ("  many\t\nspaces .  here ", ["many spaces .", "here"]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


@given(ANY)
def test_sentences_joined_are_the_text(text):
    parts = sentences(text)
    assert " ".join(parts) == " ".join(text.split())
    assert all(parts)


@pytest.mark.parametrize(
    ("text", "max_chars", "expected"),
    [
        ("One. Two. Three.", 100, ["One. Two. Three."]),
        ("One. Two. Three.", 10, ["One. Two.", "Three."]),
        (
            "First this, then that; and more. End.",
            20,
            ["First this,", "then that; and more.", "End."],
        ),
        ("no marks in here at all", 10, ["no marks", "in here at", "all"]),
        ("supercalifragilistic word", 8, ["supercal", "ifragili", "stic", "word"]),
        ("a—b: c", 4, ["a—b:", "c"]),
        ("ab c", 1, ["a", "b", "c"]),
    ],
)
def test_pieces_end_where_it_is_best(text, max_chars, expected):
    assert split_text(text, max_chars) == expected


@given(ANY, st.integers(1, 30))
def test_pieces_keep_the_limit_and_lose_nothing(text, max_chars):
    pieces = split_text(text, max_chars)
    assert all(0 < len(piece) <= max_chars for piece in pieces)
    assert not any(piece != piece.strip() for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(TYPED, st.integers(20, 60))
def test_neighbouring_pieces_would_not_fit_together(text, max_chars):
    pieces = split_text(text, max_chars)
    for left, right in pairwise(pieces):
        assert len(left) + 1 + len(right) > max_chars


def test_fifteen_characters_take_about_a_second():
    text = "the quick brown fox jumps over the lazy dog and goes home to sleep again"
    assert estimate_s(text) == pytest.approx(len(text) / 15, abs=0.6)


def test_numbers_take_longer_than_words_of_their_length():
    assert estimate_s("in 1984 then") > estimate_s("in love then") + 0.8
    assert estimate_s("it costs $5") > estimate_s("it costs 5")


def test_marks_make_pauses_but_decimal_points_do_not():
    assert estimate_s("one, two. three") > estimate_s("one two three") + 0.4
    assert estimate_s("3.14") == estimate_s("314")


@given(ANY, ANY)
def test_more_text_takes_no_less_time(one, two):
    assert 0 < estimate_s(one) <= estimate_s(f"{one} {two}") + 1e-9
