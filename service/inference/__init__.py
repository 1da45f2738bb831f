"""Images to predictions: the loaded engine, its queue and its worker threads."""
