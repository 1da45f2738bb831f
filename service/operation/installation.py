"""Whether the Python distributions that mien runs on are there, once, and whole."""

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from typing import Final

ALTERNATIVES: Final = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11"),
}
"""Folders, and the distributions that write them. Two of them in one environment overwrite each other's files."""


def installation_problem(folder: str, installed: Iterable[Distribution] | None = None) -> str | None:
    """What is wrong with the distributions that write a folder of ``ALTERNATIVES``, and the commands that mend it.

    Args:
        folder: ``onnxruntime`` or ``faiss``.
        installed: what to look at; None is the environment that runs.

    Returns:
        None if exactly one of them is there.
    """
    names = {
        re.sub(r"[-_.]+", "-", distribution.name).lower()
        for distribution in (distributions() if installed is None else installed)
    }
    there = [rival for rival in ALTERNATIVES[folder] if rival in names]
    if not there:
        return f"nothing provides {folder}: pip install 'mien[cpu]', or 'mien[gpu]' on a machine with a GPU"
    if len(there) > 1:
        return (
            f"{' and '.join(there)} both write the folder {folder}/ and break each other: "
            f"pip uninstall --yes {' '.join(there)}, then pip install one of 'mien[cpu]' and 'mien[gpu]'"
        )
    return None
