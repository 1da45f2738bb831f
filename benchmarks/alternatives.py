"""Environments of the alternatives to mien that ``load.py`` measures, created here."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

FER: Final = (
    "fer==25.10.3",
    "tensorflow-cpu",
    "opencv-python-headless<5",  # 5 has no CascadeClassifier
    "pandas",
    "pillow",
    "requests",
    "tqdm",
    "fastapi",
    "uvicorn[standard]",
    "python-multipart",
)
"""fer is installed without its dependencies: those for video bring torch and are not used here."""

DEEPFACE: Final = ("deepface[api]==0.0.103",)

DEEPFACE_WEIGHTS: Final = "facial_expression_model_weights.onnx"
"""The file that DeepFace downloads from its releases on GitHub, or from Hugging Face, on first use."""


def fer_environment(folder: Path) -> Path:
    """The Python of an environment with fer behind FastAPI; created if it does not exist."""
    return _environment(folder / "fer", FER, bare=("fer",))


def deepface_environment(folder: Path, weights: Path) -> Path:
    """The Python of an environment with DeepFace and its weights; created if it does not exist.

    Args:
        folder: of all environments.
        weights: path of the file ``DEEPFACE_WEIGHTS``.
    """
    python = _environment(folder / "deepface", DEEPFACE)
    kept = deepface_home(folder) / ".deepface" / "weights" / DEEPFACE_WEIGHTS
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(weights.read_bytes())
    return python


def deepface_home(folder: Path) -> Path:
    """The folder in which DeepFace looks for its weights: ``DEEPFACE_HOME``."""
    return folder / "deepface-home"


def _environment(folder: Path, packages: tuple[str, ...], bare: tuple[str, ...] = ()) -> Path:
    """An environment with ``packages``; those that start with a name of ``bare`` are installed without dependencies."""
    python = folder / "bin" / "python"
    done = folder / "complete"
    if done.is_file() and done.read_text(encoding="utf-8") == "\n".join(packages):
        return python
    sys.stderr.write(f"creating {folder}\n")
    venv.create(folder, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    alone = [each for each in packages if each.startswith(bare)] if bare else []
    subprocess.run([*install, *(each for each in packages if each not in alone)], check=True)  # noqa: S603
    if alone:
        subprocess.run([*install, "--no-deps", *alone], check=True)  # noqa: S603
    done.write_text("\n".join(packages), encoding="utf-8")
    return python
