"""The one thread that owns the model, and what other threads ask of it.

Knows the session and, by contract, a loudspeaker and a folder of takes; knows no terminal.
Read worker.py first, which the prompt talks to; model_thread.py does what it queues.
"""
