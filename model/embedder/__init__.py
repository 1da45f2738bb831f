"""From face crops to embeddings: the exported network on ONNX Runtime."""
