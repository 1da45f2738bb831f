"""From a photograph to the embeddings of its faces, and the training of the network that embeds them."""

import os

# From release 1.29 on, ONNX Runtime sends telemetry unless this is set before it is imported. Every module here that
# imports it has imported this package first. Set the variable to 0 to send telemetry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
