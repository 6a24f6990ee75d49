"""The CSM on MLX: Metal, or a cpu.

Knows no text and no codec; its files have the names of those in `torch/` that do the same there.
Read engine.py first: how a take is generated; then `model.py`.
"""
