"""Portraits: the average face of a point of the embedding space."""
