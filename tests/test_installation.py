"""The environment that runs is whole, and others are told apart by what pip leaves in them."""

from importlib.metadata import distributions
from pathlib import Path

import pytest

from service.installation import installation_problems


def environment(folder: Path, *names: str) -> Path:
    """A folder with what pip writes for each of these distributions."""
    for name in names:
        info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    folder.mkdir(exist_ok=True)
    return folder


def problems(folder: Path) -> list[str]:
    return installation_problems(distributions(path=[str(folder)]))


def test_this_environment_is_whole() -> None:
    assert installation_problems() == []


@pytest.mark.parametrize("names", [("onnxruntime", "faiss-cpu"), ("onnxruntime-gpu", "faiss-gpu")])
def test_one_of_each_is_right(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert problems(environment(tmp_path, *names)) == []


def test_both_onnx_runtimes(tmp_path: Path) -> None:
    """As ``pip install .[gpu]`` leaves it after ``pip install .[cpu]``."""
    (found,) = problems(environment(tmp_path, "onnxruntime", "onnxruntime-gpu", "faiss-cpu"))
    assert "onnxruntime and onnxruntime-gpu both write the folder onnxruntime/" in found
    assert "pip uninstall --yes onnxruntime onnxruntime-gpu" in found


def test_both_faiss(tmp_path: Path) -> None:
    (found,) = problems(environment(tmp_path, "onnxruntime", "faiss_cpu", "Faiss-GPU"))
    assert "faiss-cpu and faiss-gpu both write the folder faiss/" in found


def test_neither(tmp_path: Path) -> None:
    assert [problem.split(":")[0] for problem in problems(environment(tmp_path))] == [
        "nothing provides onnxruntime",
        "nothing provides faiss",
    ]
