"""Weights of few bits as MLX packs them, and checkpoints that hold such weights already.

Knows no rule which weights get how many bits (`engine/quantising.py` does), and no model.
Read packing.py first: a matrix, packed or not.
"""
