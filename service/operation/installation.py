"""Checks of the environment: which distributions are installed, and which extra of mien a missing module is in."""

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from typing import Final

ALTERNATIVES: Final = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11"),
}
"""Modules, and the distributions that install them. Two of these in one environment overwrite each other's files."""

EXTRAS: Final = {
    "train": ("torch", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib"),
    "video": ("av",),
    "otel": ("opentelemetry",),
    "parquet": ("pyarrow",),
    "distributed": ("pymilvus", "grpc"),
    "bulk": ("ray",),
}
"""Optional extras of mien, and the modules that each installs; those of ``cpu`` and ``gpu`` are ``ALTERNATIVES``."""


def installation_problem(module: str, installed: Iterable[Distribution] | None = None) -> str | None:
    """What is wrong with the distributions that install a module of ``ALTERNATIVES``, and the commands that mend it.

    Args:
        module: ``onnxruntime`` or ``faiss``.
        installed: distributions to check; None takes those of the running environment.

    Returns:
        None if exactly one of the alternatives is installed.
    """
    names = {
        re.sub(r"[-_.]+", "-", distribution.name).lower()
        for distribution in (distributions() if installed is None else installed)
    }
    found = [alternative for alternative in ALTERNATIVES[module] if alternative in names]
    if not found:
        return f"nothing provides {module}: pip install 'mien[cpu]', or 'mien[gpu]' on a machine with a GPU"
    if len(found) > 1:
        return (
            f"{' and '.join(found)} both write the folder {module}/ and break each other: "
            f"pip uninstall --yes {' '.join(found)}, then pip install one of 'mien[cpu]' and 'mien[gpu]'"
        )
    return None


def missing_extra(error: ImportError) -> str | None:
    """One sentence that says which extra of mien to install, for a module that could not be imported.

    Args:
        error: the error of the import.

    Returns:
        None if no extra of mien has the module: the error is a bug.
    """
    module = (error.name or "").partition(".")[0]
    if module in ALTERNATIVES:
        return installation_problem(module) or f"{module} is installed but cannot be imported: {error}"
    extra = next((name for name, modules in EXTRAS.items() if module in modules), None)
    return None if extra is None else f"this needs the module {module}: pip install 'mien[{extra}]'"
