"""Answers about videos and streams."""
