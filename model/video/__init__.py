"""Decoding of videos to frames, and tracks of the faces in them."""
