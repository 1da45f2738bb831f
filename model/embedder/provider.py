"""Where the network runs, as a setting: a module without ONNX Runtime, so that options can be read without it."""

from typing import Literal

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "require"]
"""Where the network runs.

``auto`` takes the GPU where there is one. ``cuda`` takes the GPU, and warns where it has to take the CPU. ``tensorrt``
takes the GPU with TensorRT, which computes in float16, and warns where it has to do without. ``require`` takes the GPU
or refuses.
"""
