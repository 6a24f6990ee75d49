"""The prompt: typed or piped lines, `$COMMANDS$`, and the thread that owns the model.

Does not know how speech is made or played. Read lines.py first: what becomes of one line.
"""
