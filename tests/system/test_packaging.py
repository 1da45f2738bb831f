import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

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


def test_the_readme_names_the_commands_and_their_options() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for part in (
        "make run",
        "make test",
        "mien train",
        "mien export",
        "mien build",
        "mien evaluate",
        "mien embed",
        "mien serve",
    ):
        assert part in readme
    assert not re.search(r"@[A-Z]+@|TODO", readme)
