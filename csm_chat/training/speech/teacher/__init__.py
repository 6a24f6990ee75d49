"""The teacher: Kokoro-82M, from packages that carry it, made to speak training conversations.

Knows phonemes, styles and a vocoder; no codec and no CSM. Read kokoro.py first.
"""
