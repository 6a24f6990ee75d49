"""A CSM whose weights have 8 or 4 bits, on a cpu: packed here, computed with by ONNX Runtime.

Knows no rule which weights get how many bits (`engine/quantising.py` does), and no GPU.
Read load.py first: from a checkpoint's tensors to the model.
"""
