"""A script said as a scene: a file of dialogue to a mix, stems, subtitles and a picture.

Knows a session and files; no terminal, no device, and not how a turn is said. Read speak.py first.
"""
