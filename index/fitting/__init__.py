"""What a bundle is made of, fitted to embeddings: mixture, calibration, sub-classes, portraits."""
