"""Adapters: what fine-tuning adds to a checkpoint, as values and in files of three tools.

Knows no framework's model and trains nothing.
Read adapter.py first: what an adapter is; then `files.py`, from a folder to one and back.
"""
