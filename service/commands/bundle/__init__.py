"""Commands that make a bundle and score it."""
