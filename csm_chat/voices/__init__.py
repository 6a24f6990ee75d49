"""Whose voice it is: the clips of a folder, what is said in them, their codes in a cache.

Knows files and a codec; no model, no terminal, and not how a voice is used. Read library.py first.
"""
