"""Whether a take is what was asked for: its words, its voice, its level, its ends.

Knows samples and texts, and by contract what hears them; not what made them. Read checks.py first.
"""
