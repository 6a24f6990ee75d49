"""Trains a codec: audio to codes and back.

Knows waveforms and losses; no text and no CSM. Read train.py first.
"""
