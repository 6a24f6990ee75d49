"""Speech to train on: voices, clips, conversations, and what is said in them moment by moment.

Knows synthesisers and sentences; no codec and no model. Read corpus.py first.
"""
