"""A CSM over whole sequences: batched, causal, without caches. Knows no loss and no data.

The parameters are those of the engine's own modules; a state dict fits both unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm_chat.checkpoint.sizes import CsmSizes, StackSizes
from csm_chat.engine.torch.cache import Cache
from csm_chat.engine.torch.layers import Attention, Layer, Stack
from csm_chat.engine.torch.load import empty_model
from csm_chat.engine.torch.model import Csm
from csm_chat.training.ears.measures import MEL_BANDS
from csm_chat.training.speech.corpus import N_SPEAKER_IDS
from csm_chat.training.speech.pitches import N_PITCHES
from csm_chat.training.speech.sounds import N_SOUNDS, SOUNDS_A_FRAME

_TABLE_STD = 0.02  # of new tables and heads
_GUIDED = (1 / 3, 2 / 3)  # how deep the layers are where heads learn where to look
_SAID, _NUMBER, _VOICE = 0, 1, -1  # heads; the first and the last do not share keys


@dataclass(frozen=True, slots=True, eq=False)
class _Turns:
    """RoPE of rows 0 to S."""

    cos: Tensor  # (S, 1, head_width)
    sin: Tensor  # (S, 1, head_width), its first half negated


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Of guided heads, one a layer: logits (B, S, S) from each row to each, not masked."""

    number: Tensor  # for whose line it is, in the layer before the others
    named: Tensor  # (B, S, width), what the layer after that begins with
    said: tuple[Tensor, ...]  # for what of the text is said
    voice: tuple[Tensor, ...]  # for how the speaker sounded before


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What attention of a layer is made of."""

    x: Tensor  # (B, S, width), normed
    q: Tensor  # (B, heads, S, head_width), turned
    k: Tensor  # (B, kv_heads, S, head_width), turned

    def logits(self, head: int) -> Tensor:
        """Of the head's attention, (B, S, S)."""
        heads, kv_heads = self.q.shape[1], self.k.shape[1]
        keys = self.k[:, head % heads * kv_heads // heads]
        return self.q[:, head] @ keys.mT / math.sqrt(self.q.shape[-1])


class CsmTrainer(nn.Module):
    """The forward pass of training over a `Csm`, which stays the owner of what is exported."""

    def __init__(self, csm: Csm, sizes: CsmSizes):
        super().__init__()
        self.csm, self.sizes = csm, sizes
        # of the training alone
        n_sounds = SOUNDS_A_FRAME * N_SOUNDS
        self.sounds_head = nn.Linear(sizes.backbone.width, n_sounds, bias=False)
        self.pitches_head = nn.Linear(sizes.backbone.width, N_PITCHES)
        self.timbres_head = nn.Linear(sizes.backbone.width, MEL_BANDS)
        self.speakers_head = nn.Linear(sizes.backbone.width, N_SPEAKER_IDS)
        heads = (self.sounds_head, self.pitches_head, self.timbres_head, self.speakers_head)
        for parameter in (each for head in heads for each in head.parameters()):
            nn.init.zeros_(parameter)
        self._tables: dict[tuple[str, torch.device], _Turns] = {}

    def hidden_and_looks(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Looks]:
        """Backbone states (B, S, width) of rows, both (B, S, codebooks + 1), and looks.

        A row sees itself and all before it; what pads a sequence at its end changes nothing.
        """
        sizes = self.sizes
        turns = self._turns("backbone", sizes.backbone, sizes.context_rows, tokens.device)
        hidden, layers = _run(self.csm.backbone, self._embedded(tokens, mask), turns)
        guided = [layers[int(len(layers) * share)] for share in _GUIDED]
        numbered = max(0, int(len(layers) * _GUIDED[0]) - 1)
        looks = Looks(
            layers[numbered].logits(_NUMBER),
            layers[numbered + 1].x,
            tuple(layer.logits(_SAID) for layer in guided),
            tuple(layer.logits(_VOICE) for layer in guided),
        )
        return hidden, looks

    def first_logits(self, hidden: Tensor) -> Tensor:
        """Codebook 0 of the next row: (..., width) to (..., audio_vocab)."""
        logits: Tensor = self.csm.codebook0_head(hidden)
        return logits

    def sound_logits(self, hidden: Tensor) -> Tensor:
        """Phonemes of the next row: (..., width) to (..., SOUNDS_A_FRAME, N_SOUNDS)."""
        logits: Tensor = self.sounds_head(hidden)
        return logits.view(*hidden.shape[:-1], SOUNDS_A_FRAME, N_SOUNDS)

    def pitch_logits(self, hidden: Tensor) -> Tensor:
        """Pitch of the next row: (..., width) to (..., N_PITCHES)."""
        logits: Tensor = self.pitches_head(hidden)
        return logits

    def timbres(self, hidden: Tensor) -> Tensor:
        """How the voice of the next row sounds: (..., width) to (..., MEL_BANDS) in nats."""
        levels: Tensor = self.timbres_head(hidden)
        return levels

    def speaker_logits(self, looks: Looks) -> Tensor:
        """Whose line each row is of: (B, S, N_SPEAKER_IDS)."""
        logits: Tensor = self.speakers_head(looks.named)
        return logits

    def depth_logits(self, hidden: Tensor, frames: Tensor) -> Tensor:
        """Codebooks 1 and up of frames (N, codebooks) that follow the states (N, width).

        Returns (N, codebooks - 1, audio_vocab); each codebook sees the frame's codes before it.
        """
        csm = self.csm
        codes = csm.embed_codes(frames)[:, :-1]  # (N, codebooks - 1, width)
        rows = torch.cat((hidden[:, None].to(codes.dtype), codes), dim=1)
        turns = self._turns("depth", self.sizes.depth, self.sizes.codebooks, rows.device)
        # float32 between the layers, as in the backbone: autocast narrows what a matrix returns
        seen = _run(csm.depth, csm.projection(rows).to(codes.dtype), turns)[0][:, 1:]
        return torch.einsum("nkw,kvw->nkv", seen, csm.depth_heads.weight)

    def _embedded(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Sums of what the mask lets through, (B, S, width)."""
        csm = self.csm
        batch, n_rows, columns = tokens.shape
        offsets = torch.arange(columns - 1, device=tokens.device) * csm.audio_vocab
        weight = csm.audio_embeddings.weight
        audio = F.embedding_bag(
            (tokens[..., :-1] + offsets).flatten(0, 1),
            weight,
            mode="sum",
            per_sample_weights=mask[..., :-1].flatten(0, 1).to(weight.dtype),
        )
        text: Tensor = csm.text_embeddings(tokens[..., -1]) * mask[..., -1:]
        return audio.view(batch, n_rows, -1) + text

    def _turns(self, name: str, sizes: StackSizes, n_rows: int, device: torch.device) -> _Turns:
        key = (name, device)
        if key not in self._tables:
            # a cache of no layers: its tables without its memory
            span = Cache(replace(sizes, layers=0), n_rows, device, torch.float32).span(0, n_rows)
            self._tables[key] = _Turns(span.cos, span.sin)
        return self._tables[key]


def _run(stack: Stack, x: Tensor, turns: _Turns) -> tuple[Tensor, list[_Seen]]:
    """(B, S, width) to (B, S, width), and what each layer saw."""
    n_rows = x.shape[1]
    turns = _Turns(turns.cos[:n_rows], turns.sin[:n_rows])
    layers = []
    for layer in stack.layers:
        assert isinstance(layer, Layer), layer
        normed = layer.attn_norm(x)
        seen, q, k = _attend(layer.attn, normed, turns)
        layers.append(_Seen(normed, q, k))
        x = x + seen
        x = x + layer.mlp(layer.mlp_norm(x))
    hidden: Tensor = stack.norm(x)
    return hidden, layers


def _attend(attn: Attention, x: Tensor, turns: _Turns) -> tuple[Tensor, Tensor, Tensor]:
    """What is seen, (B, S, width), and the queries and keys, see `_Seen`."""
    heads, kv_heads = attn.heads, attn.kv_heads
    fused = attn.qkv(x).unflatten(-1, (-1, attn.head_width))  # (B, S, heads + 2 kv_heads, head)
    values = fused[..., heads + kv_heads :, :]
    turned = _rotate(fused[..., : heads + kv_heads, :], turns)
    q, k = turned[..., :heads, :].transpose(1, 2), turned[..., heads:, :].transpose(1, 2)
    seen = F.scaled_dot_product_attention(
        q, k, values.transpose(1, 2), is_causal=True, enable_gqa=heads != kv_heads
    )
    mixed: Tensor = attn.out(seen.transpose(1, 2).flatten(2))
    return mixed, q, k


def _rotate(x: Tensor, turns: _Turns) -> Tensor:
    """RoPE in float32. `x` is (B, S, heads, head_width)."""
    swapped = x.roll(x.shape[-1] // 2, -1)
    return (x * turns.cos + swapped * turns.sin).to(x.dtype)


def new_csm(sizes: CsmSizes, seed: int) -> Csm:
    """A model with drawn weights: small, those that write to the residual stream smaller still."""
    generator = torch.Generator().manual_seed(seed)
    csm = empty_model(sizes).requires_grad_(True)
    with torch.no_grad():
        for name, parameter in csm.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, _std(name, parameter, sizes), generator=generator)
    return csm


def _std(name: str, parameter: Tensor, sizes: CsmSizes) -> float:
    if "layers." not in name and name != "projection.weight":
        return _TABLE_STD
    stack = sizes.depth if name.startswith("depth.") else sizes.backbone
    to_stream = name.endswith(("attn.out.weight", "mlp.down.weight"))
    n_in: int = parameter.shape[-1]
    return math.sqrt(1 / (2 * stack.layers * n_in if to_stream else n_in))
