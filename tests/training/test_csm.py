"""Training a CSM: the rows it learns, the losses it gets, and that what it learned is spoken."""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import csm_chat
from csm_chat.checkpoint.codec_files import KYUTAI_FILE
from csm_chat.checkpoint.sizes import CsmSizes, StackSizes, read_sizes
from csm_chat.conversation import prompt
from csm_chat.conversation.tokenizer import CsmTokenizer, load_tokenizer
from csm_chat.engine.torch.engine import TorchEngine, only
from csm_chat.engine.torch.load import load_model
from csm_chat.errors import CheckpointError, UsageError
from csm_chat.training.csm.batch import (
    Batch,
    BatchSettings,
    Draft,
    draft,
    drafts,
    merged,
    placed,
    rows,
)
from csm_chat.training.csm.coded import CodedLine, CodedRecordings, encoded_talks
from csm_chat.training.csm.codes import FrozenCodec
from csm_chat.training.csm.known import coded
from csm_chat.training.csm.losses import Losses, LossSettings, losses
from csm_chat.training.csm.model import CsmTrainer, new_csm
from csm_chat.training.csm.takes import take_figures
from csm_chat.training.csm.tokenizer import N_BASE_IDS, SPECIALS, train_tokenizer, write_tokenizer
from csm_chat.training.csm.train import CsmTask, Recipe, begun, settle, train
from csm_chat.training.ears.measures import MEL_BANDS, spectrum_levels
from csm_chat.training.export import (
    CODEC_FILE,
    PREPARED,
    Written,
    export_codec,
    export_run,
    prepare,
    write_weights,
)
from csm_chat.training.export import main as export_main
from csm_chat.training.loop import LAST, LOG, Plan, Run, load_checkpoint
from csm_chat.training.speech.corpus import N_SPEAKER_IDS
from csm_chat.training.speech.espeak import Phoneme, coloured
from csm_chat.training.speech.pitches import N_PITCHES, pitch_classes
from csm_chat.training.speech.recorded import Recordings
from csm_chat.training.speech.sounds import (
    NO_CHARACTER,
    NO_SOUND,
    PAUSE_SOUND,
    heard_sounds,
    said_characters,
)
from csm_chat.training.speech.teacher.kokoro import Said
from csm_chat.training.speech.teacher.teach import teach
from csm_chat.types import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    Backend,
    Codes,
    Pcm,
    Prompt,
    Sampling,
    Segment,
    Utterance,
)
from tests.checkpoints import BINS, make_checkpoint

CPU = torch.device("cpu")
CODEBOOKS = 4
UNMERGED = BatchSettings(batch_rows=80, merged_share=0)


@dataclass(frozen=True)
class Clip:
    text: str
    pcm: Pcm
    phonemes: tuple[Phoneme, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Line:
    speaker: int
    clip: Clip


def clip(text: str, n_samples: int, seed: int) -> Clip:
    """Noise with a few loud and quiet stretches, so that its frames differ."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.uniform(0.02, 0.5, n_samples // 500 + 1), 500)[:n_samples]
    return Clip(text, (rng.standard_normal(n_samples) * levels).astype(np.float32))


SHORT = clip("No.", 3 * FRAME_SAMPLES, seed=1)
LONG = clip("Yes, I am.", 5 * FRAME_SAMPLES - 700, seed=2)
CONVERSATIONS = (
    (Line(0, SHORT),),
    (Line(1, clip("Why?", 4 * FRAME_SAMPLES, seed=3)),),
    (Line(0, LONG), Line(1, clip("So?", 2 * FRAME_SAMPLES, seed=4))),
    (Line(2, clip("It is 12.", 6 * FRAME_SAMPLES, seed=5)), Line(2, SHORT)),
)


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("codec"), "sesame", codebooks=CODEBOOKS)


@pytest.fixture(scope="module")
def codec(codec_folder: Path) -> FrozenCodec:
    return FrozenCodec(codec_folder, CPU)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(train_tokenizer([]), tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tokenizer(tokenizer_file: Path) -> CsmTokenizer:
    return load_tokenizer(tokenizer_file.parent)


def tiny_sizes(text_vocab: int = 260, context_rows: int = 128) -> CsmSizes:
    backbone = StackSizes(layers=2, width=64, mlp_width=96, heads=4, kv_heads=2, head_width=16)
    depth = StackSizes(layers=2, width=32, mlp_width=64, heads=2, kv_heads=1, head_width=16)
    return CsmSizes(backbone, depth, text_vocab, BINS + 3, CODEBOOKS, BINS, context_rows)


def loud_model(seed: int = 0) -> CsmTrainer:
    """Weights large enough that a wrong row, turn or order shows in every logit."""
    csm = new_csm(tiny_sizes(), seed)
    with torch.no_grad():
        for name, parameter in csm.named_parameters():
            if "embeddings" in name or "head" in name:
                parameter.mul_(25)
    return CsmTrainer(csm, tiny_sizes())


def silent(conversation: Sequence[Line]) -> list[CodedLine]:
    """With codes of nothing, where these do not matter."""
    return [
        CodedLine(
            x.speaker,
            coded(x.clip, np.zeros((-(-len(x.clip.pcm) // FRAME_SAMPLES), CODEBOOKS), np.int16)),
        )
        for x in conversation
    ]


def batch_of(conversations: Sequence[Sequence[Line]], tokenizer: CsmTokenizer, codec: FrozenCodec):
    talks = encoded_talks(conversations, codec)
    sequences = [rows(each, tokenizer, CODEBOOKS, 999) for each in talks]
    return placed(draft([s for s in sequences if s]), CPU)


def spoken_by_the_trainer(model: CsmTrainer, asked: Prompt, max_frames: int = 10) -> Codes:
    """Greedy, without any cache: each code from a pass over the whole sequence."""
    said = np.zeros((0, CODEBOOKS), np.int32)
    for _ in range(max_frames):
        all_rows = prompt.join([asked, prompt.audio_rows(said)])
        n = len(asked.tokens) + len(said)
        with torch.no_grad():
            tokens = torch.from_numpy(all_rows.tokens[None, :n]).long()
            hidden = model.hidden_and_looks(tokens, torch.from_numpy(all_rows.mask[None, :n]))[0][
                :, -1
            ]
            frame = torch.zeros(1, CODEBOOKS, dtype=torch.long)
            frame[0, 0] = model.first_logits(hidden)[0, :BINS].argmax()
            for i in range(1, CODEBOOKS):
                frame[0, i] = model.depth_logits(hidden, frame)[0, i - 1, :BINS].argmax()
        if not frame.any():
            break
        said = np.concatenate([said, frame.numpy().astype(np.int32)])
    return said


def test_clips_encoded_together_have_the_codes_of_each_alone(codec_folder, codec):
    alone = csm_chat.load(codec_folder).codec
    clips = [LONG.pcm, SHORT.pcm, *(clip("", n * 999, n).pcm for n in range(1, 60, 7))]
    expected = np.concatenate([alone.encode(each) for each in clips])
    np.testing.assert_array_equal(codec.encode(clips).numpy(), expected)


def test_rows_are_those_of_a_prompt(tokenizer, codec, codec_folder):
    batch = batch_of(CONVERSATIONS, tokenizer, codec)
    alone = csm_chat.load(codec_folder).codec
    for tokens, mask, conversation in zip(batch.tokens, batch.mask, CONVERSATIONS, strict=True):
        said = [Segment(x.speaker, x.clip.text, alone.encode(x.clip.pcm)) for x in conversation]
        expected = prompt.join([prompt.segment_rows(tokenizer, s, CODEBOOKS) for s in said])
        n = len(expected.tokens)
        np.testing.assert_array_equal(tokens[:n], expected.tokens)
        np.testing.assert_array_equal(mask[:n], expected.mask)
        assert not tokens[n:].any() and not mask[n:].any()


def test_targets_are_each_frame_and_the_end_of_speech(tokenizer, codec):
    batch = batch_of(CONVERSATIONS, tokenizer, codec)
    is_audio = batch.mask[:, 1:, 0]
    assert torch.equal(batch.learned[:, :-1], is_audio)
    assert not batch.learned[:, -1].any()
    is_end = is_audio & ~batch.tokens[:, 1:].any(dim=-1)
    assert torch.equal(batch.ends[:, :-1], is_end)
    assert batch.ends.sum() == sum(map(len, CONVERSATIONS))


def test_a_line_that_is_not_learned_is_still_read(tokenizer):
    heard = rows(
        silent(CONVERSATIONS[2]), tokenizer, CODEBOOKS, 999, lambda i, speaker: speaker == 1
    )
    whole = rows(silent(CONVERSATIONS[2]), tokenizer, CODEBOOKS, 999)
    np.testing.assert_array_equal(heard.prompt.tokens, whole.prompt.tokens)
    n_first = whole.starts[0] + 5
    assert not heard.learned[: n_first + 1].any() and not heard.ends[: n_first + 1].any()
    np.testing.assert_array_equal(heard.learned[n_first + 1 :], whole.learned[n_first + 1 :])


def test_lines_that_do_not_fit_are_left_out_whole(tokenizer):
    first = rows(silent(CONVERSATIONS[2][:1]), tokenizer, CODEBOOKS, 999)
    n_rows = len(first.learned)
    cut = rows(silent(CONVERSATIONS[2]), tokenizer, CODEBOOKS, n_rows)
    np.testing.assert_array_equal(cut.prompt.tokens, first.prompt.tokens)
    assert rows(silent(CONVERSATIONS[2]), tokenizer, CODEBOOKS, n_rows - 1) is None


def test_batches_hold_every_line_once_within_their_rows(tokenizer):
    conversations = [silent((Line(0, clip("x" * n, n * 1000, n)),)) for n in range(1, 30)]
    settings = replace(UNMERGED, batch_rows=120, pool=3)
    made = [*drafts(conversations, tokenizer, CODEBOOKS, settings)]
    again = [*drafts(conversations, tokenizer, CODEBOOKS, settings)]
    assert all(each.tokens.shape[0] * each.tokens.shape[1] <= 120 for each in made)
    assert sum(int(each.ends.sum()) for each in made) == len(conversations)
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)


def test_merged_conversations_keep_their_order_and_their_voices_apart():
    def talk(name: str, speakers: list[int]) -> list[Line]:
        return [Line(s, Clip(f"{name}{s}{i}", SHORT.pcm)) for i, s in enumerate(speakers)]

    talks = [talk(name, [0, 3, 0, 1]) for name in "abcdef"]
    settings = BatchSettings(merged_share=1.0, max_merged=3)
    made = [*merged(talks, settings, random.Random(0))]
    texts = [line.clip.text for conversation in made for line in conversation]
    assert sorted(texts) == sorted(line.clip.text for each in talks for line in each)
    for conversation in made:
        voices = {line.speaker: set() for line in conversation}
        for line in conversation:
            voices[line.speaker].add(line.clip.text[:2])
        assert all(len(each) == 1 for each in voices.values())
        for name in "abcdef":
            order = [x.clip.text[2:] for x in conversation if x.clip.text[0] == name]
            assert order == sorted(order)
    assert len(made) < 6 and any(len({line.clip.text[0] for line in each[:4]}) > 1 for each in made)


def spoken_in(folder: Path) -> Path:
    """Some recordings, as a teacher leaves them."""

    def say(text: str, voice: str, speed: float) -> Said:
        return Said(clip(text, 4800, len(text)).pcm, "hI.", (1, 3, 2, 1, 1))

    teach(folder, "train", 6 * 0.2 / 3600, (0, 1), say)
    return folder


def test_recordings_are_encoded_once_and_are_what_they_were(codec, tmp_path):
    folder = spoken_in(tmp_path)
    first = [*islice(CodedRecordings(folder, codec).conversations(3), 4)]
    spoken = [*islice(Recordings.open(folder).conversations(3), 4)]
    for path in folder.rglob("*.flac"):
        path.unlink()
    again = [*islice(CodedRecordings(folder, codec).conversations(3), 4)]
    for one, other, lines in zip(first, again, spoken, strict=True):
        assert [x.speaker for x in one] == [x.speaker for x in other] == [x.speaker for x in lines]
        for kept, read, line in zip(one, other, lines, strict=True):
            expected = coded(line.clip, codec.encode([line.clip.pcm]).numpy())
            assert (kept.clip.text, read.clip.phonemes) == (line.clip.text, line.clip.phonemes)
            for name in ("codes", "pitches", "timbre"):
                for found in (kept.clip, read.clip):
                    np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_a_run_learns_from_recordings(codec_folder, tmp_path):
    folder = spoken_in(tmp_path / "speech")
    recipe = Recipe(size="tiny", data=folder, held_out=folder, n_single=1)
    plan = Plan(tmp_path / "run", 9, total_steps=3, log_every=1, validate_every=3)
    assert train(plan, recipe, codec_folder) == 3
    log = [json.loads(line) for line in (plan.out / LOG).read_text("utf-8").splitlines()]
    assert all(line["sounds"] > 0 for line in log[:3]) and log[-1]["valid_sounds"] > 0


def test_logits_are_the_engines(tokenizer, codec):
    model = loud_model()
    batch = batch_of(CONVERSATIONS, tokenizer, codec)
    engine = TorchEngine(only(model.csm), model.sizes)
    hidden, _ = model.hidden_and_looks(batch.tokens, batch.mask)
    for b, conversation in enumerate(CONVERSATIONS):
        n = int(batch.mask[b].any(dim=-1).sum())
        asked = Prompt(batch.tokens[b, :n].numpy().astype(np.int32), batch.mask[b, :n].numpy())
        expected = torch.from_numpy(engine.frame_logits(asked))
        frame = expected.argmax(dim=-1)[None]
        first = model.first_logits(hidden[b, n - 1])[None]
        logits = torch.cat((first, model.depth_logits(hidden[b, n - 1][None], frame)[0]))
        assert len(conversation) and logits.std() > 0.5
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_mean_entropy_of_what_is_learned(tokenizer, codec):
    model = loud_model()
    batch = batch_of(CONVERSATIONS[:1], tokenizer, codec)
    settings = LossSettings(
        depth_share=1.0, first_codebook_weight=3.0, fading=0.5, pitches_weight=2.0
    )
    found = losses(model, batch, settings, torch.Generator())
    hidden = model.hidden_and_looks(batch.tokens, batch.mask)[0][0]
    first, depth = [], []
    start = int(batch.learned[0].nonzero()[0, 0])
    for row in range(start, start + 4):  # 3 frames and the end
        frame = batch.tokens[0, row + 1, :-1]
        shares = model.first_logits(hidden[row]).log_softmax(-1)
        first.append(-shares[frame[0]])
        heads = model.depth_logits(hidden[row][None], frame[None])[0].log_softmax(-1)
        depth.append(-heads[torch.arange(CODEBOOKS - 1), frame[1:]])
    # a new head finds all pitches as likely; what is said is not known
    weights = 0.5 ** torch.arange(CODEBOOKS - 1)
    faded = (torch.stack(depth) * weights).mean() / weights.mean()
    expected = 3 * torch.stack(first).mean() + faded + 2 * found.pitches + found.timbres
    expected = expected + (found.speakers + found.numbers) / 2
    assert found.pitches == pytest.approx(math.log(N_PITCHES), rel=0.1)
    assert found.looks == found.voices == 0  # its only line's
    assert found.speakers == pytest.approx(math.log(N_SPEAKER_IDS))
    np.testing.assert_allclose(found.timbres, abs(spectrum_levels(SHORT.pcm)).mean(), rtol=0.1)
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.first, torch.stack(first[:-1]).mean().detach())
    torch.testing.assert_close(found.end, first[-1].detach())
    torch.testing.assert_close(found.depth, torch.stack(depth[:-1]).mean().detach())


def test_ends_of_speech_are_always_in_the_depth_loss(tokenizer, codec):
    model = loud_model()
    batch = batch_of(CONVERSATIONS, tokenizer, codec)
    none = losses(model, batch, LossSettings(depth_share=0.0), torch.Generator())
    assert none.depth == 0
    none.total.backward()
    grad = model.csm.depth_heads.weight.grad
    assert grad is not None and (grad[:, 0] < 0).any(dim=-1).all()


def test_padding_changes_no_gradient(tokenizer, codec):
    def gradient(conversations):
        model = loud_model()
        batch = batch_of(conversations, tokenizer, codec)
        keep = batch.learned.clone()
        keep[1:] = False
        batch = replace(batch, learned=keep, ends=batch.ends & keep)
        losses(model, batch, LossSettings(depth_share=1.0), torch.Generator()).total.backward()
        return model.csm.backbone.layers[0].attn.qkv.weight.grad

    alone, padded = gradient(CONVERSATIONS[:1]), gradient(CONVERSATIONS)
    torch.testing.assert_close(alone, padded, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("n_merges", [0, 40])
def test_the_tokenizer_reads_any_text_and_spells_the_speaker(tmp_path, n_merges):
    made = train_tokenizer(["the other one is there", "then they went in"] * 9, n_merges)
    write_tokenizer(made, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    for text in ("Hi!", "Zoë said: “5% [of] 1234”…\n", "the  them"):
        ids = tokenizer.encode(text, 12)
        assert made.decode(ids.tolist()) == f"[12]{text}"
    pieces = [made.id_to_token(i) for i in tokenizer.encode("the", 12)]
    assert pieces[:5] == [SPECIALS[0], "[", "1", "2", "]"]
    assert pieces[5:-1] == (["the"] if n_merges else ["t", "h", "e"])
    assert N_BASE_IDS <= made.get_vocab_size() <= N_BASE_IDS + n_merges


@dataclass(frozen=True)
class Trained:
    model: CsmTrainer
    curve: list[float]
    written: Written
    backend: Backend


@pytest.fixture(scope="module")
def trained(tokenizer_file, tokenizer, codec, codec_folder, tmp_path_factory) -> Trained:
    """Four conversations by heart, exported in bfloat16 and loaded like any other checkpoint."""
    torch.manual_seed(0)
    model = CsmTrainer(new_csm(tiny_sizes(), seed=0), tiny_sizes())
    batch = batch_of(CONVERSATIONS, tokenizer, codec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    generator = torch.Generator().manual_seed(0)
    curve = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = losses(model, batch, LossSettings(depth_share=0.5), generator)
        loss.total.backward()
        optimizer.step()
        curve.append(loss.total.item())
    folder = tmp_path_factory.mktemp("exported")
    prepare(model.sizes, tokenizer_file, codec_folder, folder, torch.bfloat16)
    written = write_weights(model.csm, model.sizes, folder, torch.bfloat16)
    return Trained(model, curve, written, csm_chat.load(folder, dtype="float32"))


def test_a_few_conversations_are_learned_by_heart(trained):
    assert trained.curve[0] > 7
    assert trained.curve[-1] < 0.05


@pytest.mark.parametrize("i", range(len(CONVERSATIONS)))
def test_the_engine_speaks_what_was_learned_and_ends(trained, tokenizer, codec_folder, i):
    encode = csm_chat.load(codec_folder).codec.encode
    *before, last = [Segment(x.speaker, x.clip.text, encode(x.clip.pcm)) for x in CONVERSATIONS[i]]
    asked = prompt.build(tokenizer, before, Utterance(last.text, last.speaker), CODEBOOKS)
    greedy = Sampling(temperature=0, max_frames=20)
    said = np.stack([*trained.backend.engine.frames(asked, greedy)])
    np.testing.assert_array_equal(said, last.codes)


def test_an_exported_model_says_what_the_trained_one_does(trained, tokenizer):
    asked = prompt.text_rows(tokenizer, "Why?", 1, CODEBOOKS)
    said = [*trained.backend.engine.frames(asked, Sampling(temperature=0, max_frames=20))]
    np.testing.assert_array_equal(np.stack(said), spoken_by_the_trainer(trained.model, asked))


def test_training_begins_with_what_was_exported(trained, tmp_path):
    model = begun(trained.model.sizes, 0, trained.written.folder)
    for name, tensor in trained.model.csm.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0.01, atol=0.01)
    assert all(each.requires_grad for each in model.parameters())
    other = replace(trained.model.sizes, text_vocab=100)
    with pytest.raises(UsageError, match="of other sizes"):
        begun(other, 0, trained.written.folder)


def test_training_in_other_codes_begins_with_one_that_can_read(trained):
    sizes = replace(trained.model.sizes, codebooks=7, entries=50, audio_vocab=53)
    model, drawn = begun(sizes, 3, trained.written.folder), new_csm(sizes, 3).state_dict()
    known = load_model(trained.written.folder, trained.model.sizes).state_dict()
    for name, tensor in model.state_dict().items():
        is_of_codes = name.split(".")[0] in ("audio_embeddings", "codebook0_head", "depth_heads")
        torch.testing.assert_close(tensor, (drawn if is_of_codes else known)[name], msg=name)


def test_an_exported_folder_has_the_sizes_it_was_trained_with(trained):
    assert read_sizes(trained.written.folder) == trained.model.sizes
    n_bytes = sum(path.stat().st_size for path in trained.written.folder.iterdir())
    assert sum(trained.written.megabytes.values()) == pytest.approx(n_bytes / 1e6)
    assert f"{n_bytes / 1e6:.2f} MB" in str(trained.written)


def test_an_exported_codec_decodes_alike(trained, codec_folder):
    original = csm_chat.load(codec_folder).codec
    codes = original.encode(LONG.pcm)
    with original.decoding() as decode:
        expected = decode(codes)
    with trained.backend.codec.decoding() as decode:
        found = decode(codes)
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert (trained.backend.codec.encode(LONG.pcm) == codes).mean() > 0.9


def test_takes_are_measured_by_the_engine(trained, tokenizer, codec):
    untrained = CsmTrainer(new_csm(tiny_sizes(), seed=0), tiny_sizes())
    batch = batch_of(CONVERSATIONS, tokenizer, codec)
    assert take_figures(untrained, [batch], n_takes=3)["ended"] < 1
    assert take_figures(trained.model, [batch], n_takes=3) == {"ended": 1.0, "length": 1.0}


def run_in(folder: Path, tokenizer: CsmTokenizer, codec: FrozenCodec) -> Run[Draft]:
    made = drafts(encoded_talks(CONVERSATIONS, codec), tokenizer, CODEBOOKS, UNMERGED)
    model = CsmTrainer(new_csm(tiny_sizes(), seed=0), tiny_sizes())
    task = CsmTask(model, {"": [*made]}, LossSettings(), CPU)
    schedule = {"learning_rate": 3e-3, "warmup_steps": 2, "ema_decay": 0.5}
    return Run(Plan(folder, 9, validate_every=4, log_every=2, **schedule), task)


def steps(
    tokenizer: CsmTokenizer, codec: FrozenCodec, last: int
) -> Callable[[int], Iterator[Draft]]:
    """Drafts up to a step; the run ends, as by a signal, when the last one is taken."""

    def stream(first: int) -> Iterator[Draft]:
        talks = encoded_talks(CONVERSATIONS, codec)
        made = [*drafts(talks, tokenizer, CODEBOOKS, UNMERGED)]
        for step in range(first, last):
            if step == last - 1:
                signal.raise_signal(signal.SIGTERM)
            yield made[step % len(made)]

    return stream


def test_a_run_that_goes_on_is_the_run_that_never_stopped(tokenizer, codec, tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    run_in(whole, tokenizer, codec).train(steps(tokenizer, codec, 8))
    for last in (3, 8):
        assert run_in(parted, tokenizer, codec).train(steps(tokenizer, codec, last)) == last
    states = [load_checkpoint(folder / LAST)["ema"] for folder in (whole, parted)]
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=0, atol=0)


def test_a_run_is_validated_and_exported(
    tokenizer, tokenizer_file, codec, codec_folder, tmp_path, capsys
):
    run = tmp_path / "run"
    prepare(tiny_sizes(), tokenizer_file, codec_folder, run / PREPARED, torch.bfloat16)
    run_in(run, tokenizer, codec).train(steps(tokenizer, codec, 4))
    log = [json.loads(line) for line in (run / LOG).read_text("utf-8").splitlines()]
    assert {"first", "end", "depth"} <= log[0].keys()
    assert {f"valid_{x}" for x in ("first", "end", "depth", "ended", "length")} <= log[-1].keys()
    folder = tmp_path / "exported"
    assert export_main(["--run", str(run), "--out", str(folder), "--dtype", "float32"]) == 0
    assert f"{folder}: " in capsys.readouterr().out
    csm = CsmTrainer(new_csm(tiny_sizes(), seed=1), tiny_sizes())
    csm.load_state_dict(load_checkpoint(run / LAST)["ema"])
    asked = prompt.text_rows(tokenizer, "Why?", 1, CODEBOOKS)
    logits = csm_chat.load(folder, dtype="float32").engine.frame_logits(asked)
    expected = TorchEngine(only(csm.csm), csm.sizes).frame_logits(asked)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    export_run(run, folder, torch.float32, sharpness=1.5)
    sharper = csm_chat.load(folder, dtype="float32").engine.frame_logits(asked)
    np.testing.assert_allclose(sharper[0], 1.5 * logits[0], atol=1e-4)


def changed_codec(codec_folder: Path, folder: Path, part: str) -> Path:
    """A codec with other weights in a part."""
    shutil.copytree(codec_folder, folder)
    file = folder / KYUTAI_FILE
    tensors = {
        name: tensor + 1 if name.startswith(part) and tensor.is_floating_point() else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file)
    return folder


def test_an_export_takes_a_decoder_that_has_learnt_since_and_no_other_codec(
    tokenizer, tokenizer_file, codec, codec_folder, tmp_path
):
    run, out = tmp_path / "run", tmp_path / "out"
    prepare(tiny_sizes(), tokenizer_file, codec_folder, run / PREPARED, torch.bfloat16)
    run_in(run, tokenizer, codec).train(steps(tokenizer, codec, 1))
    export_run(run, out)
    before = (out / CODEC_FILE).read_bytes()
    export_run(run, out, codec=changed_codec(codec_folder, tmp_path / "refined", "decoder."))
    assert (out / CODEC_FILE).read_bytes() != before
    with pytest.raises(CheckpointError, match="codes otherwise"):
        export_run(run, out, codec=changed_codec(codec_folder, tmp_path / "other", "encoder."))
    assert (out / CODEC_FILE).read_bytes() == before


def test_a_run_keeps_the_codec_and_the_sizes_it_was_begun_with(codec_folder, tmp_path):
    run = tmp_path / "run" / PREPARED
    with pytest.raises(UsageError, match="give --codec"):
        settle(run, Recipe(size="tiny"), None)
    sizes = settle(run, Recipe(size="tiny", codebooks=3), codec_folder)
    assert (sizes.codebooks, sizes.entries, sizes.audio_vocab) == (3, BINS, BINS + 3)
    assert settle(run, Recipe(size="tiny"), codec_folder) == sizes
    assert settle(run, Recipe(size="tiny"), None) == sizes
    with pytest.raises(UsageError, match="other sizes"):
        settle(run, Recipe(size="small"), None)
    other = make_checkpoint(tmp_path / "other", "sesame", seed=1, codebooks=CODEBOOKS)
    with pytest.raises(UsageError, match="another codec"):
        settle(run, Recipe(size="tiny"), other)


def test_an_export_refuses_a_tokenizer_of_more_ids_than_the_model(codec_folder, tmp_path):
    tokenizer_file = write_tokenizer(train_tokenizer([]), tmp_path)
    sizes = tiny_sizes(text_vocab=100)
    with pytest.raises(CheckpointError, match="260 ids, the model knows 100"):
        prepare(sizes, tokenizer_file, codec_folder, tmp_path / "out", torch.bfloat16)


def test_fewer_codebooks_are_the_codecs_first(codec_folder, tmp_path):
    original = csm_chat.load(codec_folder).codec
    export_codec(codec_folder, tmp_path, 2, torch.float32)
    codec = FrozenCodec(tmp_path, CPU)
    assert (codec.codebooks, codec.entries) == (2, BINS)
    codes = codec.encode([SHORT.pcm]).numpy()
    np.testing.assert_array_equal(codes, original.encode(SHORT.pcm)[:, :2])


def test_sounds_are_those_of_the_phonemes_said_then():
    phonemes = (Phoneme("a", 0.02), Phoneme("", 0.07), Phoneme("b", 0.1))
    sounds = heard_sounds(phonemes, 3)  # 26.7 ms a moment
    a, pause, b = (sounds[0, 1], PAUSE_SOUND, sounds[1, 1])
    assert sounds.tolist() == [[pause, a, a], [pause, b, b], [b, b, b]]
    assert len({a, pause, b}) == 3
    assert heard_sounds(phonemes, 2, start_s=0.08).tolist() == [[pause, b, b], [b, b, b]]
    assert (heard_sounds((), 2) == NO_SOUND).all()


# "a bee.", 80 ms a frame: the pause at the end is said where its full stop is
A_BEE = (Phoneme("a", 0.0, 0), Phoneme("b", 0.15, 2), Phoneme("i:", 0.2, 2), Phoneme("", 0.3, 5))


def test_characters_are_those_of_the_word_said_then():
    said = said_characters(A_BEE, 6, len("a bee."))
    assert "".join("a bee."[i] for i in said) == "  ee.."
    assert (said_characters((), 2, 9) == NO_CHARACTER).all()


def test_places_are_rows_of_the_lines_own_text(tokenizer, codec):
    bee = Clip("a bee.", np.zeros(6 * FRAME_SAMPLES, np.float32), A_BEE, "a bee.")
    read = rows(silent([Line(1, SHORT), Line(12, bee)]), tokenizer, CODEBOOKS, 200)
    text = "".join(chr(byte) for byte in b"a bee.")
    begin = read.starts[1] - 1 - len(text)  # end of text comes between
    assert [*read.known.places[3:] - begin] == [*said_characters(A_BEE, 6, len(text))]
    assert (read.known.places[:3] == NO_CHARACTER).all()
    # one whose words are not the rows' own
    other = rows(silent([Line(1, replace(bee, words="a bee, say."))]), tokenizer, CODEBOOKS, 200)
    assert (other.known.places == NO_CHARACTER).all()


def taught(model: CsmTrainer, batch: Batch) -> list[Losses]:
    """The losses of some steps on one batch."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    found = []
    for _ in range(40):
        optimiser.zero_grad()
        found.append(losses(model, batch, LossSettings(depth_share=0.0), torch.Generator()))
        found[-1].total.backward()
        optimiser.step()
    return found


def test_heads_learn_to_look_at_what_is_said_next(tokenizer, codec):
    sizes = tiny_sizes()
    model = CsmTrainer(new_csm(sizes, seed=0), sizes)
    bee = Clip("a bee.", clip("", 6 * FRAME_SAMPLES, seed=9).pcm, A_BEE, "a bee.")
    batch = batch_of(((Line(0, SHORT), Line(1, bee)),), tokenizer, codec)
    found = [float(each.looks) for each in taught(model, batch)]
    assert found[0] > 1 and found[-1] < 0.2
    with torch.no_grad():
        _, looks = model.hidden_and_looks(batch.tokens, batch.mask)
    (frame,) = (batch.known.places == int(batch.known.places.max())).nonzero()[-1].tolist()
    seen = looks.said[-1][batch.frames[0, frame], batch.frames[1, frame] - 1]
    assert (
        abs(int(seen[: int(batch.frames[1, frame])].argmax()) - int(batch.known.places.max())) <= 2
    )


def test_other_heads_learn_to_look_at_the_speakers_own_lines(tokenizer, codec):
    model = CsmTrainer(new_csm(tiny_sizes(), seed=0), tiny_sizes())
    clips = [clip("Yes.", 4 * FRAME_SAMPLES, seed=i) for i in range(3)]
    lines = [Line(speaker, each) for speaker, each in zip((3, 5, 3), clips, strict=True)]
    batch = batch_of((lines,), tokenizer, codec)
    found = [float(each.voices) for each in taught(model, batch)]
    assert found[0] > 1 and found[-1] < 0.2
    with torch.no_grad():
        _, looks = model.hidden_and_looks(batch.tokens, batch.mask)
    first, _, last = batch.frames[1].view(3, 4)
    for seen in looks.voice:
        for row in (last[0] - 1, last[-1] - 1):  # of text, and a frame
            assert int(seen[0, row, : row + 1].argmax()) in first


def test_whose_a_row_is_is_learned_where_its_number_was_read(tokenizer, codec):
    sizes = replace(tiny_sizes(), backbone=replace(tiny_sizes().backbone, layers=3))
    model = CsmTrainer(new_csm(sizes, seed=0), sizes)
    batch = batch_of(([Line(3, SHORT), Line(5, SHORT), Line(3, SHORT)],), tokenizer, codec)
    first, *_, last = taught(model, batch)
    assert first.speakers > 2 and last.speakers < 0.1
    _, looks = model.hidden_and_looks(batch.tokens, batch.mask)
    is_frame = ~batch.mask[0, :, -1]
    begins = (batch.tokens[0, :, -1] == batch.tokens[0, 0, -1]).nonzero()[:, 0].tolist()
    said = model.speaker_logits(looks)[0].argmax(-1)
    for begin, speaker in zip(begins, (3, 5, 3), strict=True):
        end = begin + int(is_frame[begin:].int().argmax()) + 3  # of three frames
        assert (said[begin + 2 : end] == speaker).all()


def test_how_a_line_sounds_is_learned(tokenizer, codec):
    model = CsmTrainer(new_csm(tiny_sizes(), seed=0), tiny_sizes())
    dark = Clip("Yes.", coloured(LONG.pcm, (1.0,)))
    batch = batch_of(((Line(0, LONG), Line(1, dark)),), tokenizer, codec)
    levels = batch.known.timbres[batch.known.lines == 1]
    assert levels.shape[1] == MEL_BANDS and (levels == levels[0]).all()
    assert (levels[0] - batch.known.timbres[0])[[0, -1]].tolist() == pytest.approx([2, -2], abs=1)
    first, *_, last = taught(model, batch)
    assert last.timbres < 0.3 * first.timbres


def test_pitch_is_learned(tokenizer, codec):
    model = CsmTrainer(new_csm(tiny_sizes(), seed=0), tiny_sizes())
    time = np.arange(8 * FRAME_SAMPLES, dtype=np.float32) / SAMPLE_RATE
    low, high = (
        Clip("Yes.", (0.1 * np.sin(2 * np.pi * hz * time)).astype(np.float32)) for hz in (110, 220)
    )
    batch = batch_of(((Line(0, low), Line(1, high)),), tokenizer, codec)
    assert batch.known.pitches.unique().tolist() == pitch_classes(np.array([110.0, 220])).tolist()
    *_, found = taught(model, batch)
    assert found.pitches < 0.1


def test_phonemes_are_learned_where_they_are_known(tokenizer, codec):
    model = CsmTrainer(new_csm(tiny_sizes(), seed=0), tiny_sizes())
    known = Clip("Yes.", SHORT.pcm, (Phoneme("j", 0.0), Phoneme("E", 0.1), Phoneme("s", 0.17)))
    lines = ((Line(0, SHORT), Line(1, known)),)
    batch = batch_of(lines, tokenizer, codec)
    *_, found = taught(model, batch)
    assert found.sounds < 0.1
    assert (
        losses(model, batch_of(((Line(0, SHORT),),), tokenizer, codec), LossSettings()).sounds == 0
    )


def test_convolutions_in_bfloat16_give_nearly_the_same_codes(codec_folder, codec):
    quick = FrozenCodec(codec_folder, CPU, torch.bfloat16).encode([LONG.pcm] * 4)
    exact = codec.encode([LONG.pcm] * 4)
    assert quick.shape == exact.shape and quick.dtype == exact.dtype
    assert (quick[:, 0] == exact[:, 0]).float().mean() > 0.6


@pytest.mark.parametrize("codebooks", [1, CODEBOOKS + 1])
def test_a_codec_is_not_asked_for_codebooks_it_has_not(codec_folder, tmp_path, codebooks):
    with pytest.raises(CheckpointError, match=f"has {CODEBOOKS} codebooks, {codebooks} are asked"):
        export_codec(codec_folder, tmp_path, codebooks, torch.float32)


def test_matrices_may_be_written_in_8_bits(trained, tmp_path):
    shutil.copytree(trained.written.folder, tmp_path, dirs_exist_ok=True)
    written = write_weights(trained.model.csm, trained.model.sizes, tmp_path, torch.float8_e4m3fn)
    name = "model.safetensors"
    assert written.megabytes[name] < 0.7 * trained.written.megabytes[name]
    asked = prompt.text_rows(load_tokenizer(tmp_path), "Why?", 1, CODEBOOKS)
    exact, rounded = (
        backend.engine.frame_logits(asked)
        for backend in (trained.backend, csm_chat.load(tmp_path, dtype="float32"))
    )
    assert 0 < np.abs(rounded - exact).max() < 0.3 * np.abs(exact).max()
