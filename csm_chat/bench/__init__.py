"""How fast a model is on this machine, and how near to what the machine allows."""
