"""From a photograph to the crops of its faces: decoding, detection, alignment."""
