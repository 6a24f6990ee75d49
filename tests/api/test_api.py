"""csm_chat from Python: Sesame's samples, tensors, segments of any kind, chats."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import csm_chat
from csm_chat import (
    AudioError,
    CsmChatError,
    EntryError,
    Generator,
    SamplingConfig,
    Segment,
    UsageError,
    Utterance,
)
from csm_chat.api.chat import Chat
from csm_chat.api.segment import samples
from csm_chat.audio.files import to_16_bit
from csm_chat.audio.takes import Takes
from csm_chat.conversation.ports import Loaded
from csm_chat.types import FRAME_SAMPLES, Backend, Codec, Codes, Pcm, Turn
from csm_chat.wording import lines_to
from tests.fakes import FixedVoices, ListSound, fake_backend
from tests.program import captured, environment

HELLO = "Hello from the other side."

# Programs in the shape that Sesame's users write, with the import line changed. They save through
# soundfile: since 2.9 torchaudio reads and writes files with torchcodec only, which needs ffmpeg.
PLAIN = """
from csm_chat import load_csm_1b
import soundfile
import torch

device = "cuda" if torch.cuda.is_available() else "cpu"
generator = load_csm_1b(device=device)

audio = generator.generate(
    text="A line for everybody.",
    speaker=0,
    context=[],
    max_audio_length_ms=10_000,
)
soundfile.write("plain.wav", audio.unsqueeze(0).cpu().numpy().T, generator.sample_rate)
"""
WITH_CONTEXT = """
from csm_chat import Segment, load_csm_1b
import soundfile
import torch
import torchaudio

generator = load_csm_1b(device="cpu")
speakers = [0, 1, 0]
transcripts = ["Did you see it?", "I did.", "And what now?"]
audio_paths = ["clip0.wav", "clip1.wav", "clip2.wav"]

def load_audio(audio_path):
    samples, sample_rate = soundfile.read(audio_path, dtype="float32", always_2d=True)
    audio_tensor = torch.from_numpy(samples.T)
    return torchaudio.functional.resample(
        audio_tensor.squeeze(0), orig_freq=sample_rate, new_freq=generator.sample_rate
    )

segments = [
    Segment(text=transcript, speaker=speaker, audio=load_audio(audio_path))
    for transcript, speaker, audio_path in zip(transcripts, speakers, audio_paths)
]
audio = generator.generate(
    text="Now we wait.", speaker=1, context=segments, max_audio_length_ms=10_000
)
soundfile.write("context.wav", audio.unsqueeze(0).cpu().numpy().T, generator.sample_rate)
"""
CONVERSATION = """
from csm_chat import Segment, load_csm_1b
import soundfile
import torch

def prepare_prompt(text, speaker, audio_path):
    return Segment(text=text, speaker=speaker, audio_path=audio_path)

generator = load_csm_1b("cpu")
prompt_segments = [
    prepare_prompt("This is how one of us sounds.", 0, "clip0.wav"),
    prepare_prompt("And this is how the other does.", 1, "clip1.wav"),
]
conversation = [
    {"text": "Morning. Slept well?", "speaker_id": 0},
    {"text": "Not at all, the cat was up.", "speaker_id": 1},
    {"text": "Again?", "speaker_id": 0},
    {"text": "Every night.", "speaker_id": 1},
]
generated_segments = []
for utterance in conversation:
    audio_tensor = generator.generate(
        text=utterance["text"],
        speaker=utterance["speaker_id"],
        context=prompt_segments + generated_segments,
        max_audio_length_ms=10_000,
    )
    generated_segments.append(
        Segment(text=utterance["text"], speaker=utterance["speaker_id"], audio=audio_tensor)
    )
all_audio = torch.cat([seg.audio for seg in generated_segments], dim=0)
soundfile.write("conversation.wav", all_audio.unsqueeze(0).cpu().numpy().T, generator.sample_rate)
"""


@dataclass
class CountedCodec:
    """A codec that counts what it encodes."""

    inner: Codec
    n_encoded: int = 0

    def __post_init__(self) -> None:
        self.codebooks, self.identity = self.inner.codebooks, self.inner.identity
        self.entries = self.inner.entries
        self.decoding = self.inner.decoding

    def encode(self, pcm: Pcm) -> Codes:
        self.n_encoded += 1
        return self.inner.encode(pcm)


@pytest.fixture(scope="module")
def backend(checkpoint: Path) -> Backend:
    return csm_chat.load(checkpoint, device="cpu", dtype="float32")


@pytest.fixture
def tts(backend: Backend) -> Generator:
    return Generator(replace(backend, codec=CountedCodec(backend.codec)))


def n_encoded(tts: Generator) -> int:
    codec = tts.backend.codec
    assert isinstance(codec, CountedCodec)
    return codec.n_encoded


def noise(n_samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))


def cached(home: Path, checkpoint: Path) -> Path:
    """The checkpoint as CSM-1B in a Hugging Face cache."""
    repo = home / "hub" / "models--sesame--csm-1b"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repo / "snapshots").mkdir(parents=True)
    (repo / "snapshots" / commit).symlink_to(checkpoint)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    return home


def test_programs_written_for_sesame_s_generator_run(tmp_path: Path, checkpoint: Path) -> None:
    for n in range(3):
        soundfile.write(tmp_path / f"clip{n}.wav", noise(44_100, n).numpy(), 44_100)
    programs = {"plain": PLAIN, "context": WITH_CONTEXT, "conversation": CONVERSATION}
    for name, text in programs.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", "import runpy, sys\nfor p in sys.argv[1:]: runpy.run_path(p)"]
        + [f"{name}.py" for name in programs],
        cwd=tmp_path,
        env=environment() | {"HF_HOME": str(cached(tmp_path / "huggingface", checkpoint))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    for name in programs:
        info = soundfile.info(tmp_path / f"{name}.wav")
        assert (info.samplerate, info.channels) == (24_000, 1)
        assert info.frames and info.frames % FRAME_SAMPLES == 0


def test_what_is_played_is_what_is_returned_and_a_program_ends_when_it_was_heard(
    tmp_path: Path, checkpoint: Path
) -> None:
    program = (
        "import csm_chat, numpy, sys\n"
        "tts = csm_chat.load_csm_1b('cpu', model=sys.argv[1])\n"
        # shorter than what is waited for before playing: no gap, however busy the machine is
        "audio = tts.generate('Hi there.', seed=4, max_audio_length_ms=240, play=True)\n"
        "numpy.save('a.npy', audio.numpy())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(checkpoint)],
        cwd=tmp_path,
        env=environment("alsa-file.conf"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    audio = to_16_bit(np.load(tmp_path / "a.npy"))
    heard = captured(tmp_path)
    np.testing.assert_array_equal(heard[: len(audio)], audio)
    assert not heard[len(audio) :].any()


def test_without_a_device_there_is_one_warning_and_all_is_returned(
    tts: Generator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_portaudio() -> None:
        raise csm_chat.DeviceError("no sound here")

    monkeypatch.setattr("csm_chat.audio.device._sounddevice", no_portaudio)
    silent = tts.generate("Hi.", seed=1)
    assert torch.equal(tts.generate("Hi.", seed=1, play=True), silent)
    assert torch.equal(tts.generate("Hi.", seed=1, play=True), silent)
    assert [record.getMessage() for record in caplog.records] == [
        "no sound here; going on without sound"
    ]


def test_the_whole_is_its_chunks(tts: Generator) -> None:
    told: list[torch.Tensor] = []
    whole = tts.generate(HELLO, seed=3, on_chunk=told.append)
    chunks = [*tts.stream(HELLO, seed=3)]
    assert (whole.dtype, whole.ndim, whole.device.type) == (torch.float32, 1, "cpu")
    assert {tuple(chunk.shape) for chunk in chunks} == {(FRAME_SAMPLES,)}
    assert torch.equal(torch.cat(chunks), whole) and torch.equal(torch.cat(told), whole)
    assert (tts.sample_rate, tts.device) == (24_000, torch.device("cpu"))


def test_speed_and_gain_change_what_is_returned_and_not_what_is_heard_later(
    tts: Generator,
) -> None:
    usual = tts.generate(HELLO, seed=3)
    said = tts.last_segment
    assert said is not None and said.codes is not None
    quick = tts.generate(HELLO, seed=3, speed=1.25)
    assert len(quick) == round(len(usual) / 1.25)
    assert tts.last_segment is not None and tts.last_segment.codes is not None
    assert (tts.last_segment.codes == said.codes).all()
    soft = tts.generate(HELLO, seed=3, gain=-20)
    torch.testing.assert_close(soft, usual / 10)
    chunks = [*tts.stream(HELLO, seed=3, speed=1.25)]
    assert torch.equal(torch.cat(chunks), quick)


def finish(stream: Any) -> tuple[torch.Tensor, Turn]:
    blocks = []
    while True:
        try:
            blocks.append(next(stream))
        except StopIteration as end:
            return torch.from_numpy(np.concatenate(blocks)), end.value


def test_a_session_and_a_generator_say_the_same(tts: Generator, backend: Backend) -> None:
    session = csm_chat.Session(backend, sampling=SamplingConfig(seed=5))
    context: list[Any] = []
    for n, text in enumerate((HELLO, "Room 12 costs $5.", "And you?")):
        pcm, turn = finish(session.take(Utterance(text, n % 2)))
        assert torch.equal(tts.generate(text, n % 2, context, seed=turn.seed), pcm)
        # the turn, its codes, or the tensor that was returned: all are the same context
        context.append([turn.segment, tts.last_segment, turn.segment][n])
    assert n_encoded(tts) == 0


def test_settings_reach_the_sampling(tts: Generator) -> None:
    greedy = tts.generate(HELLO, temperature=0, max_audio_length_ms=800)
    for settings in ({"topk": 1}, {"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}):
        said = tts.generate(HELLO, max_audio_length_ms=800, seed=2, **settings)  # type: ignore[arg-type]
        assert torch.equal(said, greedy), settings
    free = tts.generate(HELLO, seed=2, max_audio_length_ms=800)
    kept = tts.generate(HELLO, seed=2, max_audio_length_ms=800, top_p=0.0, min_tokens_to_keep=50)
    assert torch.equal(kept, free) and not torch.equal(free[: len(greedy)], greedy[: len(free)])
    mine = tts.generate(HELLO, max_audio_length_ms=800, sampler=lambda logits: logits.argmax())
    assert torch.equal(mine, greedy)


def test_the_length_is_capped_in_whole_frames(tts: Generator) -> None:
    def never(history: object, logits: Any) -> Any:
        logits[0] = -np.inf
        return logits

    said = tts.generate(HELLO, max_audio_length_ms=419, logits_processors=[never])
    assert len(said) == 5 * FRAME_SAMPLES


def test_a_processor_can_end_a_take(tts: Generator, caplog: pytest.LogCaptureFixture) -> None:
    def end_after_two(history: Any, logits: Any) -> Any:
        logits[0] += 1e4 if len(history) >= 2 else -1e4
        return logits

    # the tiny model says silence in all codebooks once codebook 0 does
    assert len(tts.generate(HELLO, logits_processors=[end_after_two])) == 2 * FRAME_SAMPLES
    nothing = tts.generate(HELLO, seed=1, logits_processors=[lambda h, x: x + 1e4 * (x == x[0])])
    assert nothing.shape == (0,) and "no sound came of" in caplog.text


def test_returned_audio_is_heard_as_the_codes_it_was_made_of(tts: Generator) -> None:
    audio = tts.generate(HELLO, seed=3)
    said = tts.last_segment
    assert said is not None and said.codes is not None and said.audio is audio
    segment = Segment(0, HELLO, audio)
    of_codes = [Segment(0, HELLO, codes=said.codes)]
    expected = tts.generate("Yes?", 1, of_codes, seed=4)
    for context in ([segment], [segment], [Segment(speaker=0, text=HELLO, audio=audio)]):
        assert torch.equal(tts.generate("Yes?", 1, context, seed=4), expected)
    assert segment.audio is audio and n_encoded(tts) == 0


def test_audio_that_was_changed_or_copied_is_encoded_once(tts: Generator) -> None:
    audio = tts.generate(HELLO, seed=3)
    copy = Segment(0, HELLO, audio.clone())
    audio *= 0.5
    changed = Segment(0, HELLO, audio)
    for _ in range(3):
        tts.generate("Yes?", 1, [copy, changed], max_audio_length_ms=160)
    assert n_encoded(tts) == 2


def test_what_is_remembered_of_audio_goes_with_it(tts: Generator) -> None:
    for seed in range(3):
        tts.generate(HELLO, seed=seed)
    tts.last_segment = None
    gc.collect()
    assert tts._sampled._known == {}


def test_segments_of_every_kind_mix(tts: Generator, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.flac", np.stack([noise(9000), noise(9000)], 1), 48_000)
    tts.generate(HELLO, seed=1)
    context = [
        Segment(7, "A file.", audio_path=tmp_path / "clip.flac"),
        Segment(0, "A tensor.", noise(5000)),
        Segment(123_456, "A list.", [0.0, 0.1, 0.2]),
        Segment(1, "Codes.", codes=np.full((4, tts.backend.engine.codebooks), 9)),
        tts.last_segment,
        Segment(np.int64(2), "Half a second.", noise(8000).numpy(), sample_rate=16_000),
    ]
    for _ in range(2):
        assert len(tts.generate("And on it goes.", 999_999, context, seed=2))  # type: ignore[arg-type]
    assert n_encoded(tts) == 4


MONO = noise(2400)
STEREO = torch.stack([MONO + 0.01, MONO - 0.01])


@pytest.mark.parametrize(
    ("audio", "tolerance"),
    [
        (MONO[None], 0),
        (MONO[:, None], 0),
        (MONO.double().numpy(), 1e-7),
        (MONO.tolist(), 0),
        (MONO.bfloat16(), 1e-2),
        (MONO.requires_grad_(False).clone().requires_grad_(), 0),
        (STEREO, 1e-6),
        (STEREO.T, 1e-6),
        ((MONO * 2**15).round().to(torch.int16), 2**-15),
        ((MONO.double() * 2**31).round().to(torch.int32).numpy(), 1e-6),
        ((MONO * 127 + 128).round().to(torch.uint8), 0.02),
    ],
)
def test_audio_in_any_form_is_the_same_audio(audio: Any, tolerance: float) -> None:
    mono = Segment(0, "Hi.", audio).audio
    assert (mono.dtype, mono.requires_grad) == (torch.float32, False)
    torch.testing.assert_close(mono, MONO, rtol=0, atol=tolerance)


def test_audio_of_another_rate_is_resampled() -> None:
    tone = np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000)
    mono = samples(tone, 48_000).numpy()
    expected = np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000)
    assert mono.shape == expected.shape
    np.testing.assert_allclose(mono[200:-200], expected[200:-200], atol=1e-3)


def test_a_buffer_used_again_does_not_change_a_segment() -> None:
    buffer = np.full(100, 0.5, np.float32)
    segment = Segment(0, "Hi.", buffer)
    buffer[:] = 0
    assert (segment.audio == 0.5).all()


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        ([], "holds no samples"),
        ("clip.wav", "have no known scale"),
        ([1, 2, 3], "int64 have no known scale"),
        (np.zeros(9, np.uint16), "uint16 have no known scale"),
        (np.zeros((9, 3000)), r"shape \(9, 3000\) is not audio"),
        (np.zeros((2, 2)), "is not audio"),
        (np.zeros((2, 3, 400)), "is not audio"),
        ([float("nan")] * 9, "not numbers"),
        (MONO * 32_768, "floats have to lie between -1 and 1"),
        ([[0.1], [0.2, 0.3]], "not readable as an array"),
        ({"array": [0.1]}, "have no known scale"),
    ],
)
def test_audio_that_is_none_is_refused_in_one_line(audio: Any, words: str) -> None:
    with pytest.raises(AudioError, match=words) as raised:
        Segment(3, "Hi.", audio)
    assert str(raised.value).startswith('segment of speaker 3, "Hi.": ')
    assert "\n" not in str(raised.value)


CODES = np.ones((3, 8), np.int32)


@pytest.mark.parametrize(
    "call",
    [
        lambda tts: tts.generate(""),
        lambda tts: tts.generate(None),
        lambda tts: tts.generate("Hi.", -1),
        lambda tts: tts.generate("Hi.", "Ana"),
        lambda tts: tts.generate("Hi.", temperature=3),
        lambda tts: tts.generate("Hi.", temperature=float("nan")),
        lambda tts: tts.generate("Hi.", topk=2.5),
        lambda tts: tts.generate("Hi.", topk=9, top_k=9),
        lambda tts: tts.generate("Hi.", min_tokens_to_keep=0),
        lambda tts: tts.generate("Hi.", seed=-1),
        lambda tts: tts.generate("Hi.", speed=0.4),
        lambda tts: tts.generate("Hi.", gain=float("inf")),
        lambda tts: tts.generate("Hi. (pause 0.8) Bye."),
        lambda tts: tts.generate("Hi.", max_audio_length_ms=79),
        lambda tts: tts.generate("Hi.", context=["Hi."]),
        lambda tts: tts.generate("Hi.", context=[Segment(0, "Hi.", codes=CODES[:, :4])]),
        lambda tts: tts.generate("Hi.", context=[Segment(0, "Hi.", codes=CODES * 2050)]),
        lambda tts: tts.generate("Hi.", logits_processors=[lambda history, logits: None]),
        lambda tts: tts.stream("Hi.", speaker=-1),  # before anything runs
        lambda tts: Segment(0, "Hi."),
        lambda tts: Segment(0, " ", codes=CODES),
        lambda tts: Segment(-1, "Hi.", codes=CODES),
        lambda tts: Segment(0, "Hi.", MONO, audio_path="clip.wav"),
        lambda tts: Segment(0, "Hi.", codes=CODES[0]),
        lambda tts: Segment(0, "Hi.", codes=-CODES),
        lambda tts: Segment(0, "Hi.", codes=CODES + 0.5),
        lambda tts: Segment(0, "Hi.", codes=CODES).audio,
        lambda tts: Segment(0, "Hi.", audio_path="no-such-clip.wav").audio,
        lambda tts: Segment(0, "Hi.", MONO, sample_rate=24),
    ],
)
def test_wrong_arguments_get_one_line(tts: Generator, call: Callable[[Generator], Any]) -> None:
    with pytest.raises((UsageError, AudioError)) as raised:
        call(tts)
    assert "\n" not in str(raised.value)


def n_rows(tts: Generator, segment: Segment) -> int:
    assert segment.codes is not None
    text = tts.backend.tokenizer.encode(segment.text, segment.speaker)
    return len(text) + len(segment.codes) + 1


def test_of_a_long_context_the_oldest_go_and_the_voices_stay(
    tts: Generator, caplog: pytest.LogCaptureFixture
) -> None:
    said = [
        Segment(n % 2, f"Line {n}.", codes=np.full((300, 8), n + 1, np.int32)) for n in range(9)
    ]
    kept = [said[0], said[1], *said[5:]]
    assert sum(n_rows(tts, each) for each in kept) < 2000 < n_rows(tts, said[4]) * 7
    audio = tts.generate(HELLO, 1, said, seed=1, max_audio_length_ms=800)
    assert "left out the oldest 3 of its 9 segments" in caplog.text
    caplog.clear()
    assert torch.equal(tts.generate(HELLO, 1, kept, seed=1, max_audio_length_ms=800), audio)
    assert "left out" not in caplog.text


def test_voices_that_do_not_fit_are_named_with_their_sizes(tts: Generator) -> None:
    said = [Segment(n, "Hi.", codes=np.full((600, 8), 1)) for n in (4, 2, 9, 2)]
    with pytest.raises(csm_chat.ContextError, match=r"speaker 2 6\d\d, speaker 4 6\d\d, speaker 9"):
        tts.generate(HELLO, context=[*said, Segment(10, "Hi.", codes=np.full((600, 8), 1))])


def test_a_stream_left_open_stands_in_nobody_s_way(tts: Generator) -> None:
    expected = tts.generate(HELLO, 0, [Segment(0, "Hi.", MONO)], seed=1)
    left = tts.stream(HELLO)
    next(left)
    assert torch.equal(tts.generate(HELLO, 0, [Segment(0, "Hi.", MONO)], seed=1), expected)
    with pytest.raises(UsageError, match="another take began"):
        next(left)
    closed = tts.stream(HELLO)
    next(closed)
    closed.close()
    assert torch.equal(tts.generate(HELLO, 0, [Segment(0, "Hi.", MONO)], seed=1), expected)


def test_an_error_in_a_callback_leaves_the_generator_usable(tts: Generator) -> None:
    def interrupt(chunk: torch.Tensor) -> None:
        raise KeyboardInterrupt

    def broken(history: object, logits: object) -> None:
        raise ZeroDivisionError

    expected = tts.generate(HELLO, seed=1)
    with pytest.raises(KeyboardInterrupt) as held:  # as a notebook holds the last traceback
        tts.generate(HELLO, on_chunk=interrupt)
    assert torch.equal(tts.generate(HELLO, seed=1), expected)
    with pytest.raises(ZeroDivisionError) as also_held:
        tts.generate(HELLO, logits_processors=[broken])  # type: ignore[list-item]
    assert torch.equal(tts.generate(HELLO, seed=1), expected)
    assert held.tb and also_held.tb


def test_a_chunk_written_to_by_its_receiver_changes_nothing_else(tts: Generator) -> None:
    expected = tts.generate(HELLO, seed=1)
    assert torch.equal(tts.generate(HELLO, seed=1, on_chunk=torch.Tensor.zero_), expected)


def test_it_works_inside_the_caller_s_inference_mode(tts: Generator) -> None:
    expected = tts.generate(HELLO, seed=1)
    with torch.inference_mode():
        audio = tts.generate(HELLO, seed=1)
        tts.generate("Yes?", 1, [Segment(0, HELLO, audio)], max_audio_length_ms=160)
    assert torch.equal(audio, expected) and n_encoded(tts) == 0


def test_a_folder_that_speaks_in_other_codebooks_says_so(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="speaks in 8 codebooks, not in 32"):
        csm_chat.load_csm_1b_local(checkpoint, "cpu")
    assert csm_chat.load_csm_1b_local(checkpoint, torch.device("cpu"), 8).sample_rate == 24_000


@contextmanager
def fake_chat(folder: Path, script: list[Any], **engine: Any) -> Any:
    sound, notes = ListSound(), list[str]()
    session = csm_chat.Session(fake_backend(script, **engine), notify=notes.append)
    takes = Takes(folder / "takes", lines_to(notes.append))
    loaded = Loaded(session, FixedVoices(), takes, sound, lambda s, rtf, start: 0.0, None, Path)
    with Chat(loaded, csm_chat.Config(voices={0: "Ana", 1: "Ben"}), notes.append) as chat:
        yield chat, sound


def test_an_entry_is_heard_saved_and_returned(tmp_path: Path) -> None:
    with fake_chat(tmp_path, [3, 4, 5]) as (chat, sound):
        turns = chat.say("Hi there!||Oh, hello.")
        assert [(t.segment.speaker, t.segment.text, t.ended) for t in turns] == [
            (0, "Hi there!", "eos"),
            (1, "Oh, hello.", "eos"),
        ]
        assert [path.name for path in chat.saved] == [
            *("001-Ana.wav", "002-Ben.wav", "001-002-scene.wav")
        ]
        assert len(sound.heard(0)) == 7 * FRAME_SAMPLES
        assert chat.say("ana: Me.", speaker="Ben")[0].segment.speaker == 0
        assert [turn.segment.speaker for turn in chat.session.turns] == [0, 1, 0]
        assert chat.say("Still me.")[0].segment.speaker == 1
        assert sound.calls == []
    assert sound.calls == ["drain", "close"]


def test_a_take_is_picked_and_a_turn_changed(tmp_path: Path) -> None:
    with fake_chat(tmp_path, []) as (chat, sound):
        chat.say("Hi there!||Oh, hello.")
        takes = chat.takes(3)
        assert [turn.segment.text for turn in takes] == ["Oh, hello."] * 3
        assert len(sound.entries) == 1
        assert chat.pick(2) is takes[1]
        assert len(sound.entries) == 2
        (new,) = chat.edit(1, "Good morning!")
        assert chat.session.turns == (new, takes[1])
        assert chat.session.history().splitlines()[0] == " 6 0: Good morning!"
        assert len(chat.edit(6, "Good evening!", onward=True)) == 2
        chat.session.undo()
        assert chat.session.turns == (new, takes[1])
        for refused in (lambda: chat.takes(50), lambda: chat.pick(9), lambda: chat.edit(9, "No.")):
            with pytest.raises(EntryError):
                refused()


def test_a_stopped_entry_is_cut_and_stays_out(tmp_path: Path) -> None:
    with fake_chat(tmp_path, [None, 2]) as (chat, sound):
        write = sound.write

        def stop(pcm: Pcm) -> None:
            write(pcm)
            chat.stop()

        sound.write = stop
        (turn,) = chat.say("This goes on and on.||And this is never said.")
        assert (turn.ended, chat.session.turns) == ("cut", ())
        assert [path.name for path in chat.saved] == ["001-Ana.cut.wav"]
        sound.write = write
        assert chat.say("And now?")[0].ended == "eos"


LONG = "This is a rather long line, which nobody can say within the time of three frames."


def test_a_take_far_too_short_for_its_text_is_said_again_twice_at_most() -> None:
    tts = csm_chat.Generator(fake_backend([3, 40]))
    assert len(tts.generate(LONG)) == 40 * FRAME_SAMPLES
    tts = csm_chat.Generator(fake_backend([3, 4, 2, 40]))
    assert len(tts.generate(LONG)) == 2 * FRAME_SAMPLES


@pytest.mark.parametrize("settings", [{"seed": 4}, {"temperature": 0.0}])
def test_a_short_take_that_would_come_out_the_same_is_not_said_again(settings, caplog) -> None:
    tts = csm_chat.Generator(fake_backend([3, 40]))
    assert len(tts.generate(LONG, **settings)) == 3 * FRAME_SAMPLES
    assert "far too early" in caplog.text


@pytest.mark.parametrize("text", ["...", "***", "?", "🙂"])
def test_a_generator_says_that_there_is_nothing_to_say(text: str) -> None:
    tts = csm_chat.Generator(fake_backend([]))
    for say in (tts.generate, tts.stream):
        with pytest.raises(EntryError, match="nothing to say"):
            say(text)


def test_ctrl_c_silences_at_once_and_keeps_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), fake_chat(tmp_path, [None]) as (chat, sound):

        def interrupt(pcm: Pcm) -> None:
            raise KeyboardInterrupt

        sound.write = interrupt
        chat.say("This goes on and on.")
    assert sound.calls == ["cancel", "close"]
    (path,) = (tmp_path / "takes").glob("*/*.wav")
    assert path.name == "001-Ana.cut.wav"


@pytest.mark.parametrize(
    ("line", "speaker"),
    [
        ("", None),
        ("||", None),
        ("...", None),
        ("🙂||***", None),
        ("Hi!||No.-3", None),
        ("Hi.", "Eve"),
        ("Hi.", -1),
        ("Hi.", 1000),
    ],
)
def test_an_entry_that_cannot_be_read_is_refused(
    tmp_path: Path, line: str, speaker: int | str | None
) -> None:
    with fake_chat(tmp_path, []) as (chat, _):
        with pytest.raises((EntryError, UsageError)) as raised:
            chat.say(line, speaker)
        assert "\n" not in str(raised.value)
        assert chat.saved == ()


def test_a_chat_opens_with_the_voices_of_a_folder(tmp_path: Path, checkpoint: Path) -> None:
    references, notes, lengths = tmp_path / "references", list[str](), list[int]()
    references.mkdir()
    soundfile.write(references / "reference-ana.wav", noise(72_000).numpy(), 24_000)
    (references / "reference-ana.txt").write_text("A few words.", encoding="utf-8")
    with csm_chat.open_chat(
        references,
        takes=tmp_path / "takes",
        model=checkpoint,
        device="cpu",
        play=False,
        logits_processors=[lambda history, logits: lengths.append(len(history)) or logits],
        notify=notes.append,
    ) as chat:
        assert chat.names == {0: "ana"}
        (turn,) = chat.say("ana: Three times 2 is 6.")
    assert turn.segment.text == "Three times 2 is 6."
    assert lengths == [*range(len(turn.segment.codes) + 1)]
    assert chat.saved[0].name.startswith("001-ana")
    assert len(soundfile.read(chat.saved[0])[0]) == len(turn.segment.codes) * FRAME_SAMPLES
    assert any("reference-ana.wav" in note for note in notes)


def test_a_lexicon_changes_what_the_model_reads(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "names.txt").write_text("Hello = Goodbye\nno entry\n", encoding="utf-8")
    said = [
        csm_chat.load_csm_1b("cpu", model=checkpoint, lexicon=lexicon).generate(
            text, max_audio_length_ms=160, seed=1
        )
        for text, lexicon in [("Hello.", tmp_path / "names.txt"), ("Goodbye.", None)]
    ]
    assert torch.equal(*said)
    assert "names.txt:2  " in caplog.text


def test_a_generator_drops_directions_and_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    tts = csm_chat.Generator(fake_backend([]))
    for text in ("*laughs* Hi.", "(sighs) Hi."):
        list(tts.stream(text))
    assert caplog.text.count("stage directions") == 1
    with pytest.raises(EntryError, match="stage directions are not read"):
        tts.stream("*laughs*")
    with pytest.raises(UsageError, match=r"directions.*not one of drop, keep, speak"):
        csm_chat.load_csm_1b(directions="sing")


def test_a_folder_of_voices_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: is not a folder"):
        csm_chat.open_chat(tmp_path / "nowhere")


def test_every_public_name_is_there_and_typed() -> None:
    source = Path(csm_chat.__file__).read_text(encoding="utf-8")
    for name in csm_chat.__all__:
        assert getattr(csm_chat, name).__name__ == name
        assert f" import {name} as {name}\n" in source
    assert set(csm_chat.__all__) <= set(dir(csm_chat))
    assert source.count("    from csm_chat.") == len(csm_chat.__all__)
    assert (Path(csm_chat.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'load_csm_2b'"):
        csm_chat.load_csm_2b  # noqa: B018 - the look-up is what is tested


def test_help_shows_every_name_and_loads_no_framework() -> None:
    code = (
        "import csm_chat, pydoc, sys; print(pydoc.plain(pydoc.render_doc(csm_chat)));"
        "sys.exit('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for name in csm_chat.__all__:
        assert f" {name}(" in ran.stdout, name
    assert "(channels, n)" in ran.stdout and "temperature: 'float' = 0.9" in ran.stdout


def test_every_error_of_the_package_has_one_base() -> None:
    errors = [getattr(csm_chat, name) for name in csm_chat.__all__ if name.endswith("Error")]
    assert len(errors) > 10 and all(issubclass(error, CsmChatError) for error in errors)


def test_generate_takes_what_stream_takes_and_shows_it_by_name() -> None:
    generate, stream = (inspect.signature(each) for each in (Generator.generate, Generator.stream))
    assert generate.parameters == stream.parameters
    assert [*generate.parameters][:5] == [
        "self",
        "text",
        "speaker",
        "context",
        "max_audio_length_ms",
    ]
    assert generate.return_annotation == "torch.Tensor"
