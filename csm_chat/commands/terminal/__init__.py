"""What the commands share at a terminal: flags, tables, what is written to stdout and stderr.

Does not know what any command does. Read flags.py first.
"""
