"""`python -m csm_chat`."""

from csm_chat.cli import program

if __name__ == "__main__":
    program()
