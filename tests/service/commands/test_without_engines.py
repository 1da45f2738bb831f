"""The commands in an installation without ONNX Runtime and FAISS: without the extras ``cpu`` and ``gpu``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mien.service.commands.gallery.main import ACTIONS
from mien.service.commands.main import COMMANDS

HIDDEN = """
import sys
names = "onnxruntime faiss torch onnx onnxscript sklearn scipy matplotlib av pyarrow ray"
for name in names.split():
    sys.modules[name] = None
"""


def run(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIEN_")}
    return subprocess.run(
        [sys.executable, "-c", HIDDEN + program],
        cwd=folder,
        env={**environment, "COLUMNS": "250"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_of_every_command_works(tmp_path: Path) -> None:
    lines = [[], *([name] for name in COMMANDS), *(["gallery", name] for name in ACTIONS)]
    program = f"""
from mien.service.commands.main import main
for words in {lines}:
    try:
        main([*words, "--help"])
    except SystemExit as stop:
        assert stop.code == 0, words
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: mien") == len(lines)


ENGINES = [
    ["classify", "photo.jpg"],
    ["retrieve", "photo.jpg"],
    ["embed", "photo.jpg", "--output", "faces.npz"],
    ["groups", "table.csv"],
    ["build", "embedder.onnx", "--data", "ferplus", "--output", "bundle"],
    ["serve"],
    *(
        ["gallery", *words, "--gallery", "faces"]
        for words in (
            ["import", "photos"],
            ["export", "all.parquet"],
            ["snapshot", "kept"],
            ["restore", "kept"],
            ["re-embed", "anew"],
            ["migrate", "--to", "other"],
            ["check"],
        )
    ),
]
"""Lines of the commands that need ONNX Runtime or FAISS."""

TRAINING = [
    ["train", "--data", "ferplus", "--output", "run"],
    ["average", "a.pt", "b.pt", "--output", "mean.pt"],
    ["export", "checkpoint.pt", "--output", "embedder.onnx"],
    ["quantise", "embedder.onnx", "--half", "--output", "half.onnx"],
    ["portraits", "--bundle", "bundle", "--data", "ferplus"],
    ["evaluate", "--data", "ferplus", "--output", "scores"],
    ["evaluate", "--dataset", "folders", "photos", "--output", "scores"],
    ["calibrate", "--bundle", "bundle", "--data", "ferplus"],
    ["discover", "--bundle", "bundle", "--data", "ferplus", "--output", "found"],
    ["ablate", "--data", "ferplus", "--output", "ablation"],
]
"""Lines of the commands that need the extra ``train``."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit status and standard error of each line."""
    program = f"""
import contextlib, io, json
from mien.service.commands import main as command, terminal
found = {{}}
for words in {ENGINES + TRAINING}:
    text = io.StringIO()
    terminal.console.file = text
    found[" ".join(words)] = (command.main(words), text.getvalue())
print(json.dumps(found))
"""
    done = run(program, tmp_path_factory.mktemp("empty"))
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[int, str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("words", ENGINES, ids=" ".join)
def test_command_names_the_extra_to_install(words: list[str], answers: dict[str, tuple[int, str]]) -> None:
    status, message = answers[" ".join(words)]
    assert status == 1
    assert message.startswith(f"mien {words[0]}: ")
    assert "pip install 'mien[cpu]'" in message
    assert len(message.strip().splitlines()) == 1


@pytest.mark.parametrize("words", TRAINING, ids=" ".join)
def test_training_command_names_the_extra_train(words: list[str], answers: dict[str, tuple[int, str]]) -> None:
    status, message = answers[" ".join(words)]
    assert status == 1
    assert "pip install 'mien[train]'" in message


def test_doctor_finds_what_is_missing(tmp_path: Path) -> None:
    done = run("from mien.service.commands.main import main; sys.exit(main(['doctor']))", tmp_path)
    assert done.returncode == 1
    assert done.stderr == ""
    table = " ".join(done.stdout.split())
    assert "ONNX Runtime" in table
    assert "FAISS" in table
    assert table.count("pip install 'mien[cpu]'") == 2
    assert "without torch" in table


def test_keys_and_the_client_need_no_engine(tmp_path: Path) -> None:
    program = """
from mien import AsyncClient, Client
from mien.service.commands.main import main
with Client("http://127.0.0.1:1"):
    sys.exit(main(["keys", "create", "anna", "--keys", "keys.json"]))
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr


def test_help_is_fast(tmp_path: Path) -> None:
    """It imports neither an engine nor a web framework, NumPy or a settings library."""
    program = """
from mien.service.commands.main import build_parser
build_parser().format_help()
print([name for name in ("numpy", "PIL", "pydantic_settings", "fastapi", "httpx") if name in sys.modules])
"""
    done = run(program, tmp_path)
    assert done.stdout.strip() == "[]", done.stdout
