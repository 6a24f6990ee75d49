"""How fast a model is on this machine, and how near to what the machine allows.

Does not know the prompt or how sound is played. Read run.py first: what is measured, in order.
"""
