"""A face to a point: find and align the face, preprocess, embed; and the training of the network."""

import os

# From release 1.29 on, ONNX Runtime reports to its makers over the network unless told not to before it is imported,
# and whatever imports it here has imported this package. Whoever wants the reports sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
