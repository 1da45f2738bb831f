"""A face crop to a point: the exported network on ONNX Runtime."""
