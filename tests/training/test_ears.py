"""The ears' own arithmetic, without their weights, and what is said where packages are missing."""

import json

import numpy as np
import pytest
import torch

from csm_chat.checking.likeness import slaney_filters, without_edges
from csm_chat.errors import UsageError
from csm_chat.training import kit
from csm_chat.training.ears import hear
from csm_chat.training.ears.hear import Heard, listen, summed_up, told
from csm_chat.training.ears.naturalness import DistillMos
from csm_chat.training.ears.words import errors


def heard(said, words, figure, vector):
    return Heard(said, words, errors(said, words), figure, np.array(vector, np.float32))


def test_a_group_is_summed_over_its_clips():
    clips = [
        heard("one two three", "one two tree", 4.0, [1, 0]),
        heard("four", "four", 3.0, [0.6, 0.8]),
    ]
    group = summed_up(clips, {"ana.wav": np.array([0, 1], np.float32)})
    assert (group.clips, group.words_wrong, group.naturalness) == (2, 0.25, 3.5)
    assert group.like_itself == pytest.approx(0.6)
    assert group.like["ana.wav"] == pytest.approx(0.4)
    assert group.misheard == (("one two three", "one two tree"),)
    text = told("voice", group)
    assert "words wrong 25.0 %" in text and "one two three | one two tree" in text


def test_a_folder_is_heard_group_by_group(tmp_path, monkeypatch):
    import soundfile

    monkeypatch.setattr(hear, "naturalness", lambda samples: 4.0)
    monkeypatch.setattr(hear, "voiceprint", lambda samples: np.array([1.0], np.float32))
    (tmp_path / "sentences.json").write_text(json.dumps(["Yes.", "No."]))
    for name in ("new_00", "new_01", "old_01"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(2400), 24_000)
    groups = listen(tmp_path, lambda samples: "no")
    assert {name: (group.clips, group.words_wrong) for name, group in groups.items()} == {
        "new": (2, 0.5),
        "old": (1, 0.0),
    }


def test_a_folder_without_sentences_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"sentences\.json"):
        listen(tmp_path, lambda samples: "")


def test_the_network_gives_a_figure_from_one_to_five():
    torch.manual_seed(0)
    with torch.no_grad():
        figure = float(DistillMos().eval()(torch.randn(4000)))
    assert 1 < figure < 5


def test_quiet_edges_are_cut():
    loud = np.sin(np.arange(16_000, dtype=np.float32))
    clip = np.pad(loud, 8000)
    assert 16_000 <= len(without_edges(clip)) < 20_000


def test_slaney_triangles_have_equal_areas():
    areas = slaney_filters().sum(1) * 40  # Hz a bin
    assert areas[10:] == pytest.approx(1, rel=0.1)


def test_a_missing_package_is_named_with_its_group():
    with pytest.raises(UsageError, match=r"no_such_package is not installed.*--group ears"):
        kit.packaged("no_such_package/weights.bin", "ears")


def test_missing_voices_say_how_to_fetch_them(tmp_path):
    with pytest.raises(UsageError, match=r"csm_chat\.training kit"):
        kit.voices_folder(tmp_path)


def test_voices_are_unpacked_whole(tmp_path):
    import tarfile

    source = tmp_path / "package/voices"
    source.mkdir(parents=True)
    (source / "af_heart.bin").write_bytes(b"1234")
    (tmp_path / "package/README.md").write_text("no voice")
    with tarfile.open(tmp_path / "it.tgz", "w:gz") as archive:
        archive.add(tmp_path / "package", "package")
    kit.unpack_voices(tmp_path / "it.tgz", tmp_path / "voices")
    assert [path.name for path in (tmp_path / "voices").iterdir()] == ["af_heart.bin"]


def test_parts_are_joined_in_order(tmp_path, monkeypatch):
    package = tmp_path / "parted_model"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.part1").write_bytes(b"12")
    (package / "a.part2").write_bytes(b"34")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert kit.joined(("parted_model/a.part1", "parted_model/a.part2"), "ears") == b"1234"
