"""Sound in and out: reading clips, playing while speech is made, saving takes.

Does not know the model or what is said. Read player.py first.
"""
