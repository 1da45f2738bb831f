"""The commands that make a bundle, one after the other, on a small data set."""

from pathlib import Path

import pytest
from PIL import Image

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.manifest import read_manifest
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS
from mien.service.commands.main import main
from tests.support.cartoon import cartoon
from tests.support.small_run import SmallRun


@pytest.mark.system
def test_commands_lead_from_faces_to_a_scored_bundle(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train, average, export, build, calibrate, discover and evaluate."""
    tiny = [
        "--network-widths",
        "4",
        "8",
        "--network-blocks",
        "1",
        "1",
        "--epochs",
        "1",
        "--batch-size",
        "32",
        "--device",
        "cpu",
    ]
    data = ["--data", str(small_run.data)]
    assert main(["train", *data, "--output", str(tmp_path / "run"), *tiny]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run" / "checkpoint.pt")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint.pt", "curves.csv", "curves.png"}
    network, bundle = tmp_path / "embedder.onnx", tmp_path / "bundle"
    checkpoint, mean = str(tmp_path / "run" / "checkpoint.pt"), str(tmp_path / "mean.pt")
    assert main(["average", checkpoint, checkpoint, "--output", mean]) == 0
    assert main(["export", mean, "--output", str(network)]) == 0
    assert Embedder(network).metadata.checkpoints == 2
    assert main(["build", str(network), *data, "--output", str(bundle)]) == 0
    capsys.readouterr()
    assert main(["calibrate", "--bundle", str(bundle), *data]) == 0
    assert "expected calibration error" in capsys.readouterr().out
    assert load_bundle(bundle).mixture.calibration is not None
    found = ["--output", str(tmp_path / "sub-classes"), "--least-faces", "12", "--restarts", "1", "--halvings", "2"]
    assert main(["discover", "--bundle", str(bundle), *data, *found]) == 0
    assert "neutral/1" in capsys.readouterr().out
    sub_classes = load_bundle(bundle).sub_classes
    assert sub_classes is not None
    assert set(sub_classes.of_face) == {entry.id for entry in load_bundle(bundle).gallery.entries}
    assert {path.name for path in (tmp_path / "sub-classes").iterdir()} == {
        "assignments.csv",
        *(f"{emotion}.png" for emotion in EMOTIONS),
    }
    sheets, named = tmp_path / "sheets", tmp_path / "sheets" / "names.csv"
    assert main(["name", "--bundle", str(bundle), "--sheets", str(sheets)]) == 1
    assert "--sheets needs --data" in capsys.readouterr().err
    assert main(["name", "--bundle", str(bundle), "--sheets", str(sheets), *data]) == 0
    assert (sheets / "happiness.png").is_file()
    named.write_text(named.read_text().replace(",,", ",plain,As it is.", 1))
    assert main(["name", "--bundle", str(bundle), "--names", str(named)]) == 0
    assert load_bundle(bundle).sub_class_names == {"neutral/1": "neutral/plain"}
    told = read_manifest(bundle).sub_classes
    assert told is not None
    assert told["each"][0]["name"] == "plain"
    assert told["held_out"], "the rest of the report stays"
    assert main(["name", "--bundle", str(bundle), "--sheets", str(sheets), *data]) == 1
    assert "names that somebody wrote" in " ".join(capsys.readouterr().err.split())
    assert main(["name", "--bundle", str(small_run.bundle), "--names", str(named)]) == 1
    assert "has no sub-classes" in capsys.readouterr().err
    assert main(["discover", "--bundle", str(bundle), *data, *found, "--previous", str(small_run.bundle)]) == 1
    assert "has no sub-classes" in capsys.readouterr().err
    scores, photographs = tmp_path / "scores", tmp_path / "photographs"
    photographs.mkdir()
    for name in ("one", "two"):
        Image.fromarray(cartoon(200)).save(photographs / f"{name}.png")
    Image.new("RGB", (64, 64)).save(photographs / "none.png")
    (photographs / "labels.csv").write_text("image,label\none.png,fear\ntwo.png,fear\nnone.png,happiness\n")
    sets = ["--world", str(photographs), "--studio", str(photographs)]
    assert main(["evaluate", "--bundle", str(bundle), *data, *sets, "--output", str(scores), "--record"]) == 0
    printed = capsys.readouterr()
    assert " of 3 photographs right" in printed.err
    table = printed.out
    assert "photographs of the world: accuracy" in table
    assert "studio photographs: faces found" in table
    assert "accuracy, nearest centroid" in table
    assert "95 % interval" in table
    assert "calibration error, cross-fitted" in table
    assert (scores / "scores.json").is_file()
    manifest = read_manifest(bundle)
    assert manifest.scores is not None
    assert manifest.scores["world"]["found"] == pytest.approx(2 / 3)
    assert manifest.scores["world"]["skipped"] == {"no face found": 1}
    assert manifest.made_from["training"]["network"]["widths"] == [4, 8]

    assert main(["train", *data, "--output", str(tmp_path / "run"), *tiny]) == 1
    assert "resume" in capsys.readouterr().err
