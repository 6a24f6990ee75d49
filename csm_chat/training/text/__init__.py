"""Endless English sentences to train on, and which of them are held out.

Knows text; no voice and no sound. Read sentences.py first.
"""
