"""Settings: what there is to set, and how the file, the environment and flags set it.

Does not know what a setting is used for. Read settings.py first: a new setting is one line there.
"""
