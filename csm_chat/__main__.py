"""`python -m csm_chat`."""

from csm_chat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
