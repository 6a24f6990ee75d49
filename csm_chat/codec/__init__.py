"""The codec, Mimi: audio to codes and back, streamed frame by frame, on torch.

Knows no CSM, no text and no player.
Read mimi.py first: loading, encoding, a stream of decoding; then `nets.py`.
"""
