"""The inaudible mark in saved files that says they are synthetic: writing and finding it.

Does not know how speech is made or files are named. Read marking.py first.
"""
