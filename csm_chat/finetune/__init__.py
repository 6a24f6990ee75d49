"""Fine-tuning: a model that is there learns one person's voice, or which of two takes is better.

Knows datasets and how they are made; trains nothing yet, and plays nothing.
Read datasets.py first: what is learned from; then `convert.py`.
"""
