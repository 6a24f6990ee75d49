"""English as it is read aloud: knows numbers, money, measures, dates, names, addresses and signs.

It knows no model, no audio and no other language's words: their letters pass as they are.
Read english.py first: it holds the order of the rules, and each kind of rule has a file.
"""


def normalise(text: str) -> str:
    """See `english.normalise`."""
    # its rules take 0.1 s to compile, and the prompt comes up before anything is read
    from csm_chat.normalise import english

    return english.normalise(text)


def says_nothing(text: str) -> bool:
    """See `english.says_nothing`."""
    from csm_chat.normalise import english

    return english.says_nothing(text)
