"""Dependencies of mien send no telemetry."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from mien.index.bundle.default import default_bundle
from mien.index.bundle.bundle import EMBEDDER
from mien.model.embedder.embedder import Embedder

Embedder(default_bundle() / EMBEDDER, provider="cpu")
"""


def test_onnx_runtime_leaves_no_identifier_of_the_machine(tmp_path: Path) -> None:
    """ONNX Runtime writes one below the user's folder before it sends telemetry."""
    # On a build server it never reports, and so would prove nothing.
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")}
    environment = {**kept, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "telemetry" not in done.stderr.lower()
    assert not list(tmp_path.rglob("*"))
