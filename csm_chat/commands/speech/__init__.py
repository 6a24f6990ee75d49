"""What `say` and `render` share: speaking a text, and the files and pipes it goes to.

Does not know command-line flags of other commands. Read speaking.py first.
"""
