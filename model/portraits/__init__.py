"""Portraits: average faces of points of the embedding space, and the network that paints them."""
