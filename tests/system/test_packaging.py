import argparse
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

from mien.service.commands.main import build_parser
from tests.support.data import ROOT


def test_no_other_distribution_provides_our_packages() -> None:
    providers = packages_distributions()
    assert set(providers["mien"]) == {"mien"}


def test_the_service_starts_without_torch() -> None:
    """Everything that a server imports, with the training extra hidden."""
    program = """
import sys
for name in ("torch", "onnx", "onnxscript", "sklearn", "matplotlib", "cv2"):
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
    assert "install mien with the extra 'train'" in done.stderr


def test_training_parts_are_no_base_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = " ".join(project["dependencies"])
    for name in ("torch", "onnx", "scikit-learn", "matplotlib", "faiss"):
        assert name not in base


def test_the_documents_have_no_placeholders() -> None:
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
