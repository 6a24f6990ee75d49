"""The Hugging Face hub: its cache on this disk, downloads in a process of their own, its errors.

Knows repositories and files, not what a checkpoint is made of.
Read client.py first: what is asked of the hub.
"""
