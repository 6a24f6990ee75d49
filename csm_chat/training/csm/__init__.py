"""Trains a CSM on conversations that a frozen codec has encoded.

Knows rows, codes and losses; not how speech or a codec is made. Read train.py first.
"""
