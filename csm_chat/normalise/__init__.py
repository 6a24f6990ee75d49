"""English as it is read aloud: knows numbers, money, measures, dates, names, addresses and signs.

It knows no model, no audio and no other language's words: their letters pass as they are.
Read english.py first: it holds the order of the rules, and each kind of rule has a file.
"""

from csm_chat.normalise.english import normalise, says_nothing

__all__ = ["normalise", "says_nothing"]
