"""A small network from waveforms to letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm_chat.training.ears.measures import mel_filters
from csm_chat.training.speech.sounds import N_SOUNDS
from csm_chat.types import SAMPLE_RATE

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"  # class n + 1; 0 is CTC's blank

N_MELS = 80
N_FFT = 640
WINDOW = SAMPLE_RATE * 25 // 1000
HOP = SAMPLE_RATE // 120
STRIDE = 4  # letters are looked for 30 times a second: quick voices say 20
MEL_LOW_HZ, MEL_HIGH_HZ = 50.0, 10_000.0
FLOOR = 14.0  # nats below the loudest mel, 60 dB


@dataclass(frozen=True, slots=True)
class Sizes:
    width: int = 256
    blocks: int = 5
    kernel: int = 11
    gru: int = 256
    dropout: float = 0.05


class Mels(nn.Module):
    """Waveform to log-mels in nats."""

    def __init__(self) -> None:
        super().__init__()
        filters = mel_filters(N_MELS, N_FFT, MEL_LOW_HZ, MEL_HIGH_HZ)
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        """(B, n) to (B, n // HOP + 1, N_MELS)."""
        filters, window = self.get_buffer("filters"), self.get_buffer("window")
        with torch.autocast(pcm.device.type, enabled=False):
            spectrum = torch.stft(pcm, N_FFT, HOP, WINDOW, window, return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()  # (B, bins, T)
            return (filters @ power + 1e-9).log().mT


def levelled(mels: Tensor) -> Tensor:
    """Without the clip's loudness, and without what is too soft to be heard beside it."""
    loudest = mels.amax((1, 2), keepdim=True)
    return (torch.maximum(mels - loudest, mels.new_tensor(-FLOOR)) + FLOOR / 2) / (FLOOR / 4)


class _Block(nn.Module):
    """A convolution over time within channels, then a perceptron across them, beside the input."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, kernel = sizes.width, sizes.kernel
        self.over_time = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 3 * width)
        self.narrow = nn.Linear(3 * width, width)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.over_time(x.mT).mT
        y = self.narrow(F.gelu(self.widen(self.norm(y))))
        changed: Tensor = x + self.dropout(y)
        return changed


class Network(nn.Module):
    """Levelled log-mels to the logits of letters.

    On a processor a block takes half the time of a recurrent layer of as many parameters; the one
    recurrent layer at the end sees the whole clip, which spelling needs.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.first = nn.Conv1d(N_MELS, width // 2, 5, 2, padding=2)
        self.second = nn.Conv1d(width // 2, width, 5, STRIDE // 2, padding=2)
        self.blocks = nn.Sequential(*(_Block(sizes) for _ in range(sizes.blocks)))
        self.norm = nn.LayerNorm(width)
        self.gru = nn.GRU(width, sizes.gru, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * sizes.gru, len(LETTERS) + 1)
        self.sounds_head = nn.Linear(width, N_SOUNDS)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, N_MELS) to (B, steps(T), letters + 1), float32."""
        return self.letters_and_sounds(x)[0]

    def letters_and_sounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of letters, and of the phonemes beneath them, (B, steps(T), N_SOUNDS)."""
        x = F.gelu(self.second(F.gelu(self.first(x.mT)))).mT
        x = self.norm(self.blocks(x))
        sounds: Tensor = self.sounds_head(x)
        letters: Tensor = self.head(self.dropout(self.gru(x)[0]))
        return letters.float(), sounds.float()


def spelled(classes: Sequence[int]) -> str:
    """CTC's greedy reading: repeats merged, blanks dropped."""
    merged = [c for c, before in zip(classes, [0, *classes], strict=False) if c and c != before]
    return " ".join("".join(LETTERS[c - 1] for c in merged).split())
