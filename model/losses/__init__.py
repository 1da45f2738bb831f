"""Losses: the Gaussian structured loss, its variants, and others to compare it with; one in each module."""
