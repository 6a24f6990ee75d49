"""What a line goes through: from typed text to a turn that the next line hears.

Knows text, rows, takes and turns; no terminal, no device, no framework. What it plays with, saves
to and tells is given to it (ports.py). Read session.py first.
"""
