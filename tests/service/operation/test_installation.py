"""Checks of environments, by the metadata that pip writes."""

from importlib.metadata import distributions
from pathlib import Path

import pytest

from mien.service.operation.installation import ALTERNATIVES, installation_problem, missing_extra


def environment(folder: Path, *names: str) -> Path:
    """A folder with the metadata that pip writes for these distributions."""
    for name in names:
        info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    folder.mkdir(exist_ok=True)
    return folder


def problem(folder: Path, module: str) -> str | None:
    return installation_problem(module, distributions(path=[str(folder)]))


@pytest.mark.parametrize("module", ALTERNATIVES)
def test_this_environment_has_no_problem(module: str) -> None:
    assert installation_problem(module) is None


@pytest.mark.parametrize("module", ALTERNATIVES)
@pytest.mark.parametrize("names", [("onnxruntime", "faiss-cpu"), ("onnxruntime-gpu", "faiss-gpu")])
def test_one_alternative_of_each_is_no_problem(tmp_path: Path, names: tuple[str, ...], module: str) -> None:
    assert problem(environment(tmp_path, *names), module) is None


def test_two_onnx_runtimes_are_a_problem(tmp_path: Path) -> None:
    """The result of ``pip install .[gpu]`` after ``pip install .[cpu]``."""
    found = problem(environment(tmp_path, "onnxruntime", "onnxruntime-gpu", "faiss-cpu"), "onnxruntime")
    assert "onnxruntime and onnxruntime-gpu both write the folder onnxruntime/" in str(found)
    assert "pip uninstall --yes onnxruntime onnxruntime-gpu" in str(found)


def test_two_faiss_distributions_are_a_problem(tmp_path: Path) -> None:
    found = problem(environment(tmp_path, "onnxruntime", "faiss_cpu", "Faiss-GPU"), "faiss")
    assert "faiss-cpu and faiss-gpu both write the folder faiss/" in str(found)


@pytest.mark.parametrize("module", ALTERNATIVES)
def test_missing_distribution_is_a_problem(tmp_path: Path, module: str) -> None:
    assert str(problem(environment(tmp_path), module)).startswith(f"nothing provides {module}")


@pytest.mark.parametrize(
    ("module", "advice"),
    [("torch", "mien[train]"), ("sklearn.mixture", "mien[train]"), ("ray.data", "mien[bulk]"), ("av", "mien[video]")],
)
def test_missing_module_is_told_by_its_extra(module: str, advice: str) -> None:
    assert f"pip install '{advice}'" in str(missing_extra(ModuleNotFoundError(name=module)))


def test_missing_engine_is_told_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.service.operation.installation.distributions", list)
    for module in ALTERNATIVES:
        assert "pip install 'mien[cpu]'" in str(missing_extra(ModuleNotFoundError(name=module)))


def test_engine_that_is_installed_but_broken_is_told() -> None:
    error = ImportError("libfaiss.so: cannot open shared object file", name="faiss")
    assert f"faiss is installed but cannot be imported ({error}): pip install" in str(missing_extra(error))


def test_import_that_no_extra_mends_is_a_bug() -> None:
    assert missing_extra(ModuleNotFoundError(name="mien.nothing")) is None
    assert missing_extra(ImportError("no name")) is None
