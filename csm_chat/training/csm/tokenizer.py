"""Makes a small tokenizer.json in the form of CSM's: byte-level, brackets and digits alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIALS = ("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>")
N_BASE_IDS = 256 + len(SPECIALS)  # bytes and specials

# Words with the space before them, as Llama 3 cuts them; what `[12]` is made of stays apart.
_PIECES = Regex(r" ?[^\s\d\[\]\p{P}]+|\d|[\[\]]|\p{P}|\s+(?!\S)|\s")


def train_tokenizer(sentences: Iterable[str], n_merges: int = 0) -> Tokenizer:
    """Bytes, and the `n_merges` commonest pairs within words. Any text has ids.

    Without merges a model of few words spells: it needs no example of a word to say it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + n_merges, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> Path:
    """Write `folder`/tokenizer.json, which `speech.text.load_tokenizer` reads."""
    path = folder / "tokenizer.json"
    path.write_text(tokenizer.to_str(), encoding="utf-8")
    return path
