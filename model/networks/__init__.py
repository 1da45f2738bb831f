"""The network that is trained, in torch, and other networks that are read into torch."""
