"""csm_chat from Python: tensors in, tensors out. Puts the parts together; no part imports it."""
