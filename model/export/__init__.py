"""Export of a trained network to ONNX, in float32, float16 or int8."""
