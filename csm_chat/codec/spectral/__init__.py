"""A codec of pulses and noise: audio to codes and back, a frame at a time, on torch.

Knows no CSM, no text and no player.
Read codec.py first: loading, encoding, a stream of decoding; then `quantizer.py` and `nets.py`.
"""
