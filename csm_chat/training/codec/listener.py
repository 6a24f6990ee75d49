"""A listener that learns phonemes from originals alone, and says what a codec made of them.

Distances of spectra weigh a breath like a consonant: a codec whose spectra were near had a fifth
of its words misheard. So a codec is asked to sound the same to somebody who knows phonemes, as
speech enhancement is by features of a recogniser (phone-fortified perceptual loss, arXiv
2010.15174). Whoever judges the codec in the end is another network, and hears letters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.training.codec.learner import Learner, layers_apart
from csm_chat.training.ears.recogniser_net import HOP, N_MELS, Mels, levelled
from csm_chat.training.speech.sounds import N_SOUNDS, SOUNDS_A_FRAME, sounds_loss
from csm_chat.types import FRAME_SAMPLES

_WIDTH = 192
_KERNEL = 5
_STRIDE = 2  # of the second layer
_DILATIONS = (1, 2, 2)  # of those after the first
_LEARNING_RATE = 1e-3


class _Ear(nn.Module):
    """Convolutions over log-mels, a quarter of a second wide."""

    def __init__(self) -> None:
        super().__init__()
        self._mels = Mels()
        layers = [nn.Conv1d(N_MELS, _WIDTH, _KERNEL, padding="same")]
        for i, dilation in enumerate(_DILATIONS):
            stride = _STRIDE if i == 0 else 1
            padding = _KERNEL // 2 * dilation
            layers.append(
                nn.Conv1d(
                    *(_WIDTH, _WIDTH, _KERNEL), stride=stride, padding=padding, dilation=dilation
                )
            )
        self._layers = nn.ModuleList(layers)
        self._norms = nn.ModuleList(nn.GroupNorm(1, _WIDTH) for _ in layers)
        self._head = nn.Linear(_WIDTH, N_SOUNDS)

    def forward(self, pcm: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, n) to logits of phonemes, (B, frames, SOUNDS_A_FRAME, N_SOUNDS), and every layer."""
        x = levelled(self._mels(pcm)).mT  # (B, mels, T)
        outputs = []
        for layer, norm in zip(self._layers, self._norms, strict=True):
            x = functional.gelu(norm(layer(x)))
            outputs.append(x)
        n_moments = pcm.shape[1] // FRAME_SAMPLES * SOUNDS_A_FRAME
        moments = (torch.arange(n_moments, device=pcm.device) + 0.5) / SOUNDS_A_FRAME
        places = (moments * FRAME_SAMPLES / (HOP * _STRIDE)).round().long()
        logits: Tensor = self._head(x[..., places].mT)
        return logits.view(len(pcm), -1, SOUNDS_A_FRAME, N_SOUNDS), outputs


class Listener(Learner):
    """An ear; it learns a step whenever it is asked."""

    def __init__(self, device: str) -> None:
        self._ear = _Ear().to(device)
        optimiser = torch.optim.AdamW(self._ear.parameters(), lr=_LEARNING_RATE)
        super().__init__("ear", self._ear, optimiser)

    def losses(self, heard: Tensor, original: Tensor, sounds: Tensor) -> dict[str, Tensor]:
        """Waves are (B, n), `sounds` (B, frames, SOUNDS_A_FRAME). "listener" is for the log.

        The codec lowers "misheard", nats by which phonemes are heard otherwise than in the
        original, and "unlike", how far the ear's layers are from the original's, in parts.
        """
        told, theirs = self._ear(original)
        learned = self._learn(sounds_loss(told.float(), sounds))
        self._ear.requires_grad_(False)
        logits, ours = self._ear(heard)
        self._ear.requires_grad_(True)
        misheard = functional.kl_div(
            logits.float().log_softmax(-1),
            told.detach().float().log_softmax(-1),
            reduction="none",
            log_target=True,
        )
        return {
            "misheard": misheard.sum(-1).mean(),
            "unlike": torch.stack(layers_apart(ours, theirs)).mean(),
            "listener": learned,
        }
