"""How voices such as the built-in one are made: text, speech, a codec, a CSM, ears that judge.

Knows torch and the program's own models; the program itself knows nothing of it. README.md says in
which order things run; read __main__.py first.
"""
