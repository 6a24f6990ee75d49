"""How speech is shaped once a model has made it: silence around it, its pace, its level.

Knows samples and text, no model, no file and no device. Read manners.py first.
"""
