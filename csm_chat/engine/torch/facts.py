"""What a device is, in words. Loads no model."""

from __future__ import annotations

import torch


def device_facts(device: str) -> str:
    """Name and memory of a GPU, the number of threads of a processor."""
    if device == "cuda":
        facts = torch.cuda.get_device_properties(torch.cuda.current_device())
        free, total = torch.cuda.mem_get_info()
        return f"{facts.name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if device == "mps":
        return f"Apple GPU, {torch.mps.recommended_max_memory() / 1e9:.1f} GB for models"
    return f"{torch.get_num_threads()} threads"
