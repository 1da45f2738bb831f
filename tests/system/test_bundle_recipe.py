"""``make bundle``: every step for real, on a small data set with tiny networks."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.manifest import read_manifest
from mien.model.datasets.ferplus import FACE_PX, Split
from tests.support.cartoon import cartoon
from tests.support.data import ROOT
from tests.support.faces import make_faces, write_split
from tests.support.small_run import SmallRun

TRAIN = (
    "--network-backbone residual --network-side-px 48 --network-widths 8 16 --network-blocks 1 1 --network-dropout 0 "
    "--frozen-blocks 0 --second-opinion 0 --epochs 1 --batch-size 32 --device cpu"
)
DISCOVER = "--least-faces 12 --restarts 1 --halvings 2 --components-max 2"
PORTRAITS = "--steps 2 --width 8 --most 40"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces under the patterns of their emotions: mien portraits needs faces that are found."""
    folder = tmp_path_factory.mktemp("data")
    face = np.asarray(Image.fromarray(cartoon(320)).convert("L").resize((FACE_PX, FACE_PX)), dtype=np.float64)
    splits: tuple[tuple[Split, int], ...] = (("Training", 320), ("PublicTest", 80))
    for split, count in splits:
        faces = make_faces(count, seed=count)
        images = (0.7 * face + 0.3 * faces.images).astype(np.uint8)
        write_split(folder, split, replace(faces, images=images))
        if split == "Training":
            posteriors = np.full((count, len(faces.emotions)), 1 / len(faces.emotions), np.float16)
            np.savez(folder / "posteriors.npz", names=np.array(faces.names), posteriors=posteriors)
    return folder


def make(folder: Path, data: Path, initial: Path, *options: str) -> str:
    """Make the bundle in a folder; returns the commands that were run."""
    done = subprocess.run(
        [
            "make",
            "-f",
            str(ROOT / "bundle.mk"),
            *options,
            f"MIEN={sys.executable} -m mien",
            f"FERPLUS={data}",
            f"INITIAL_WEIGHTS={initial}",
            f"TEACHERS={data / 'posteriors.npz'}",
            f"TRAIN_OPTIONS={TRAIN}",
            f"DISCOVER_OPTIONS={DISCOVER}",
            f"PORTRAIT_OPTIONS={PORTRAITS}",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands_of(text: str) -> list[str]:
    return re.findall(r"mien (\w+) (?=[^-`]|--)", text)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_bundle_is_made_and_interrupted_work_continues(data: Path, small_run: SmallRun, tmp_path: Path) -> None:
    make(tmp_path, data, small_run.checkpoint)
    runs = tmp_path / "runs"
    manifest, bundle = read_manifest(runs / "bundle"), load_bundle(runs / "bundle")
    assert manifest.scores is not None
    assert bundle.mixture.calibration is not None
    assert bundle.sub_classes is not None
    assert bundle.portraits_path is not None
    assert (runs / "scores" / "scores.json").is_file()
    assert commands_of(make(tmp_path, data, small_run.checkpoint)) == [], "nothing is left to do"

    assert commands_of(make(tmp_path, data, small_run.checkpoint, "-n", f"NAMES={data}")) == ["name"]

    (runs / "structure" / "curves.png").unlink()  # as a training leaves it that was interrupted
    again = make(tmp_path, data, small_run.checkpoint, "-n")
    assert commands_of(again) == [
        "train", "average", "train", "average", "export", "quantise", "join", "build",
        "calibrate", "discover", "portraits", "evaluate",
    ]  # fmt: skip


def test_steps_are_those_of_the_guide(data: Path, small_run: SmallRun, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    section = guide.partition("## The bundle that ships\n")[2].partition("\n## ")[0]
    steps = [name for name in re.findall(r"^\$ mien (\w+)", section, re.MULTILINE) if name != "serve"]
    assert commands_of(make(tmp_path, data, small_run.checkpoint, "-n")) == steps
