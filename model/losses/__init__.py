"""Losses that shape the embedding space: the Gaussian structured loss, its variants and its rivals."""
