"""csm_chat from Python: text and context in, tensors out, in the shape of Sesame's generator.

Knows assemble, which puts the parts together; no command and no terminal, and nothing imports it
but the package's own front door. Read generator.py first.
"""
