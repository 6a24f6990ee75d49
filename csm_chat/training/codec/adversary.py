"""Judges that learn to tell a codec's sound from the original.

After EnCodec's multi-scale STFT discriminator (facebookresearch/encodec, arXiv 2210.13438), with
two scales, half the channels, and squared distances in place of the hinge. Levels are compressed,
so that soft sounds are judged like loud ones, and a short piece is judged at a time: that is a
third of what whole crops in three scales cost.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from csm_chat.training.codec.learner import Learner, layers_apart
from csm_chat.types import SAMPLE_RATE

_SIZES = (2048, 512)  # window lengths, of harmonics and of pulses; hops are a quarter
_HIGHEST_HZ = 8_000
_PIECE_S = 0.6
_POWER = 0.35  # of the magnitudes
_CHANNELS = 16
_LEARNING_RATE = 6e-4


class Judge(nn.Module):
    """One scale: convolutions over the complex spectrum."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        layers = [nn.Conv2d(2, _CHANNELS, (3, 9), padding=(1, 4))]
        for dilation in (1, 2, 4):
            layers.append(
                nn.Conv2d(
                    *(_CHANNELS, _CHANNELS, (3, 9)),
                    stride=(1, 2),
                    dilation=(dilation, 1),
                    padding=(dilation, 4),
                )
            )
        layers.append(nn.Conv2d(_CHANNELS, 1, (3, 3), padding=(1, 1)))
        self.layers = nn.ModuleList(nn.utils.parametrizations.weight_norm(x) for x in layers)

    def forward(self, pcm: Tensor) -> list[Tensor]:
        """(B, n) to every layer's output; the last is the verdict, towards 1 for the original."""
        window = self.get_buffer("window")
        with torch.autocast(pcm.device.type, enabled=False):
            spectrum = torch.stft(
                *(pcm.float(), self._size, self._size // 4),
                window=window,
                normalized=True,
                return_complex=True,
            )
            real, imag = spectrum.real, spectrum.imag
            gain = (real.square() + imag.square() + 1e-6) ** ((_POWER - 1) / 2)
        x = torch.stack([real * gain, imag * gain], dim=1).transpose(2, 3)  # (B, 2, T, bins)
        x = x[..., : _HIGHEST_HZ * self._size // SAMPLE_RATE + 1]
        outputs: list[Tensor] = []
        for layer in self.layers:
            x = layer(x if not outputs else functional.leaky_relu(outputs[-1], 0.2))
            outputs.append(x)
        return outputs


class Adversary(Learner):
    """The judges; they learn a step whenever they are asked."""

    def __init__(self, device: str) -> None:
        self._judges = nn.ModuleList(Judge(size) for size in _SIZES).to(device)
        optimiser = torch.optim.AdamW(
            self._judges.parameters(), lr=_LEARNING_RATE, betas=(0.8, 0.99)
        )
        super().__init__("judges", self._judges, optimiser)

    def losses(self, heard: Tensor, original: Tensor) -> dict[str, Tensor]:
        """Both (B, n). The codec lowers "adversarial" and "features"; "judges" is for the log."""
        n = round(_PIECE_S * SAMPLE_RATE)
        start = int(torch.randint(max(1, heard.shape[1] - n), ()))
        heard, original = (pcm[:, start : start + n] for pcm in (heard, original))
        judged = self._learn(self._misjudged(heard.detach(), original))
        adversarial, features = [], []
        for judge in self._judges:
            ours = judge(heard)
            with torch.no_grad():
                theirs = judge(original)
            adversarial.append((ours[-1] - 1).float().square().mean())
            features += layers_apart(ours[:-1], theirs[:-1])
        return {
            "adversarial": torch.stack(adversarial).mean(),
            "features": torch.stack(features).mean(),
            "judges": judged,
        }

    def _misjudged(self, heard: Tensor, original: Tensor) -> Tensor:
        losses = [
            (judge(original)[-1] - 1).float().square().mean()
            + judge(heard)[-1].float().square().mean()
            for judge in self._judges
        ]
        return torch.stack(losses).mean()
