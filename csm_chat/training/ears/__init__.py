"""What judges speech: recognisers, and measures of words, pitch and voice.

Knows clips and their texts; not what made them. Read measures.py first.
"""
