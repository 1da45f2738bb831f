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


def installation_problems(installed: Iterable[Distribution] | None = None) -> list[str]:
    """What is wrong with the installation, one sentence each, with the commands that mend it.

    Args:
        installed: what to look at; None is the environment that runs.

    Returns:
        Nothing if all is well.
    """
    names = {
        re.sub(r"[-_.]+", "-", distribution.name).lower()
        for distribution in (distributions() if installed is None else installed)
    }
    problems = []
    for folder, rivals in ALTERNATIVES.items():
        there = [rival for rival in rivals if rival in names]
        if not there:
            problems.append(
                f"nothing provides {folder}: pip install 'mien[cpu]', or 'mien[gpu]' on a machine with a GPU"
            )
        elif len(there) > 1:
            problems.append(
                f"{' and '.join(there)} both write the folder {folder}/ and break each other: "
                f"pip uninstall --yes {' '.join(there)}, then pip install one of 'mien[cpu]' and 'mien[gpu]'"
            )
    return problems
