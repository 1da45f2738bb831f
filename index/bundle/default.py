"""The bundle that ships with mien: a module without FAISS and ONNX Runtime, as options name it as their default."""

from pathlib import Path


def default_bundle() -> Path:
    """The folder of the bundle that ships with mien."""
    return Path(__file__).parents[1] / "default_bundle"
