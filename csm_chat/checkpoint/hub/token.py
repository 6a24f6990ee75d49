"""Whether the Hugging Face hub knows who asks. The token itself stays where it is."""

from __future__ import annotations


def has_token() -> bool:
    """Whether HF_TOKEN is set or `hf auth login` was done."""
    from huggingface_hub import get_token

    return get_token() is not None
