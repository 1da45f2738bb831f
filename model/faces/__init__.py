"""A photograph to face crops: decoding, detection, alignment."""
