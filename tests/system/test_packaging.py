"""The distribution: what the wheel and the source archive hold, and the wheel at work next to a user's own modules."""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mien.service.commands.main import build_parser
from tests.support.data import ROOT

PACKAGES = ("model", "index", "service")

USERS_SCRIPT = """
import sys
from pathlib import Path

import mien

heavy = {"faiss", "onnxruntime", "torch", "numpy", "fastapi", "starlette", "pydantic", "httpx"} & set(sys.modules)
assert not heavy, f"import mien loads {heavy}"
assert Path(mien.__file__).is_relative_to(sys.prefix), mien.__file__

import index
import model
import service

assert [each.OWNER for each in (model, index, service)] == ["user"] * 3

from mien.index.bundle.default import default_bundle
from mien.model.emotions import EMOTIONS

assert len(EMOTIONS) == 8
assert (default_bundle() / "manifest.json").is_file()
assert issubclass(mien.ServiceError, mien.MienError)
mien.Client("http://127.0.0.1:9").close()
assert sys.modules["model"] is model
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive, built by the environment's own hatchling."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(archives: Path) -> Path:
    return next(archives.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel; the dependencies are those of the running environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    paths = sysconfig.get_paths("venv", {"base": str(folder), "platbase": str(folder)})
    # A path in a .pth file is searched, but the .pth files in it are not read: the editable mien stays hidden.
    (Path(paths["purelib"]) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    programs = Path(paths["scripts"])
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    return programs


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A project that has modules of its own under the names of our folders."""
    for path in ("model/__init__.py", "index/__init__.py", "service.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text('OWNER = "user"\n')
    (tmp_path / "script.py").write_text(USERS_SCRIPT)
    return tmp_path


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, run without the variables that let Python find the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MIEN_"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked_files() -> set[str]:
    """The files of the package under the names that they have when installed."""
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    return {f"mien/{name}" for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def test_wheel_holds_mien_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == {"mien", f"mien-{wheel.name.split('-')[1]}.dist-info"}
    missing = tracked_files() - set(names)
    assert not missing


def test_source_archive_holds_each_file_once(archives: Path) -> None:
    with tarfile.open(next(archives.glob("*.tar.gz"))) as archive:
        members = archive.getmembers()
    assert all(member.isreg() for member in members), "a link would point to a folder that is not in the archive"
    names = [member.name.split("/", 1)[1] for member in members]
    assert len(set(names)) == len(names)
    assert not {name.split("/")[0] for name in names} & set(PACKAGES), "they are in mien/ already"
    missing = tracked_files() - set(names)
    assert not missing


def test_library_works_next_to_modules_of_the_same_names(installed: Path, users_folder: Path) -> None:
    run(installed / "python", "script.py", cwd=users_folder)


@pytest.mark.parametrize("command", [["mien"], ["python", "-m", "mien"]], ids=" ".join)
def test_command_runs_next_to_modules_of_the_same_names(
    installed: Path, users_folder: Path, command: list[str]
) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert version in run(installed / command[0], *command[1:], "--version", cwd=users_folder)


def test_no_other_distribution_provides_mien() -> None:
    providers = packages_distributions()
    assert set(providers.get("mien", ["mien"])) == {"mien"}


def test_service_starts_without_torch() -> None:
    """Everything that a server imports, with the training extra hidden."""
    program = """
import sys
for name in ("torch", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib", "cv2"):
    sys.modules[name] = None
from mien.service.commands.main import main
import mien.service.server
from mien.service.app import create_app
from mien.service.inference.engine import load_engine
from mien.service.settings import Settings
create_app(load_engine(Settings()), Settings())
print(main(["train", "--data", "x", "--output", "y"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"
    assert "pip install 'mien[train]'" in done.stderr


def test_training_libraries_are_no_base_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = " ".join(project["dependencies"])
    for name in ("torch", "onnx", "scikit-learn", "matplotlib", "faiss"):
        assert name not in base


def test_documents_have_no_placeholders() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert not re.search(r"@[A-Z]+@|TODO", document.read_text(encoding="utf-8")), document.name


def test_every_command_is_documented() -> None:
    documents = "\n".join(
        path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    )
    commands = next(each.choices for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    for command in commands:
        assert re.search(rf"mien(:cpu)? {command}\b", documents), command
    for command in ("make run", "make test"):
        assert command in documents
