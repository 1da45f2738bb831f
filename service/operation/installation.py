"""Checks of the environment: which distributions are installed, and which extra of mien a missing module is in."""

import re
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from typing import Final

from mien.model.errors import ConfigError

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

_INSTALL: Final = "pip install 'mien[cpu]', or 'mien[gpu]' on a machine with a GPU"


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
        return f"nothing provides {module}: {_INSTALL}"
    if len(found) > 1:
        return (
            f"{' and '.join(found)} both write the folder {module}/ and break each other: "
            f"pip uninstall --yes {' '.join(found)}, then pip install one of 'mien[cpu]' and 'mien[gpu]'"
        )
    return None


def engine_problem(module: str) -> str | None:
    """Why a module of ``ALTERNATIVES`` cannot be used, and the commands that mend it; None if it can be imported."""
    try:
        import_module(module)
    except ImportError as error:
        return _import_problem(module, error)
    return installation_problem(module)


def missing_training_modules() -> list[str]:
    """The modules of the extra ``train`` that are not installed."""
    return [name for name in EXTRAS["train"] if find_spec(name) is None]


def require_training_modules() -> None:
    """Refuse a command that trains if the extra ``train`` is not installed.

    Raises:
        ConfigError: a module of it is missing.
    """
    missing = missing_training_modules()
    if missing:
        raise ConfigError(f"this command needs {', '.join(missing)}: pip install 'mien[train]'")


def missing_extra(error: ImportError) -> str | None:
    """One sentence that says which extra of mien to install, for a module that could not be imported.

    Args:
        error: the error of the import.

    Returns:
        None if no extra of mien has the module: the error is a bug.
    """
    module = (error.name or "").partition(".")[0]
    if module in ALTERNATIVES:
        return _import_problem(module, error)
    extra = next((name for name, modules in EXTRAS.items() if module in modules), None)
    return None if extra is None else f"this needs the module {module}: pip install 'mien[{extra}]'"


def _import_problem(module: str, error: ImportError) -> str:
    return installation_problem(module) or f"{module} is installed but cannot be imported ({error}): {_INSTALL}"
