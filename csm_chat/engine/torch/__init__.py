"""The CSM on torch: a cpu, CUDA, or an Apple GPU by mps.

Knows no text and no codec; its files have the names of those in `mlx/` that do the same there.
Read engine.py first: how a take is generated; then `model.py`.
"""
