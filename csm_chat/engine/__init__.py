"""The CSM transformers on torch and on MLX: from a checkpoint and prompt rows to frames of codes.

Knows no text, no audio and no codec. Importing this package imports no framework.
Read choice.py first: what is loaded how; then `cached.py`, and `torch/engine.py`.
"""
