"""A tiny random checkpoint in openai-whisper's own format; it hears the same words in any clip."""

from __future__ import annotations

from pathlib import Path

WIDTH = 32
N_TASK_TOKENS = 4  # start, language, task, no timestamps
LOUD = 100.0  # so that a position's direction drowns the random layers


def make_whisper(path: Path, words: str = " The sea never stops.") -> Path:
    """Write a model that hears `words` (at most 24 tokens) and then ends."""
    import torch
    from whisper.model import ModelDimensions, Whisper
    from whisper.tokenizer import get_tokenizer

    dims = ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=WIDTH, n_audio_head=2, n_audio_layer=1,
        n_vocab=51865, n_text_ctx=448, n_text_state=WIDTH, n_text_head=2, n_text_layer=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = Whisper(dims).state_dict()
        embedding = torch.randn(dims.n_vocab, WIDTH) * 0.02
    tokenizer = get_tokenizer(True, num_languages=99)
    script = [*tokenizer.encode(words), tokenizer.eot]
    english = tokenizer.to_language_token("en")
    # at position p the decoder reads direction p, and the one token that lies there is what it says
    directions = torch.eye(WIDTH) * LOUD
    said_at = {0: english} | {N_TASK_TOKENS - 1 + i: token for i, token in enumerate(script)}
    positions = torch.zeros(dims.n_text_ctx, WIDTH)
    for position, token in said_at.items():
        positions[position] = directions[position]
        embedding[token] += directions[position] / LOUD * 8
    weights["decoder.token_embedding.weight"] = embedding
    weights["decoder.positional_embedding"] = positions
    halved = {name: tensor.half() for name, tensor in weights.items()}
    torch.save({"dims": vars(dims), "model_state_dict": halved}, path)
    return path
