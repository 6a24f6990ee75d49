"""Who says a part of a line, and in which mood, by what stands in front of it. Pure.

Knows names, moods and voices; no model, no terminal. Read labels.py first, which has what stands
before a colon; moods.py has what stands in brackets.
"""
