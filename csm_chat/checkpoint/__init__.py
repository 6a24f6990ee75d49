"""Checkpoints of CSM: where they are found, which files and tensors they hold, their sizes.

Knows no framework and computes nothing; downloading is in `hub/`.
Read find.py first: from a model's name to folders that hold it whole; then `weights.py`.
"""
