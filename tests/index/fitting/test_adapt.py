import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.bundle.manifest import EMBEDDER, GALLERY, MIXTURE
from mien.index.errors import BundleError
from mien.index.fitting.adapt import EmbeddedFaces, adapt_bundle, embed_faces, read_photographs, write_adaptation
from mien.model.datasets.base import LabelledPhotographs
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError
from mien.model.pipeline import Pipeline, load_pipeline
from tests.support.drawn_expressions import write_expressions
from tests.support.small_run import SmallRun


@pytest.fixture(scope="module")
def bundle(small_run: SmallRun) -> Bundle:
    return load_bundle(small_run.bundle)


@pytest.fixture(scope="module")
def pipeline(small_run: SmallRun) -> Pipeline:
    return load_pipeline(small_run.network, provider="cpu")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def cropped(photographs: LabelledPhotographs) -> LabelledPhotographs:
    return LabelledPhotographs(
        photographs.name,
        photographs.paths,
        photographs.labels,
        photographs.subjects,
        True,
        photographs.boxes,
        photographs.left_out,
        photographs.emotions,
    )


def embed(root: Path, pipeline: Pipeline, *new: str) -> EmbeddedFaces:
    return embed_faces(pipeline, cropped(read_photographs(root, EMOTIONS, new)), len(EMOTIONS))


def test_labels_are_those_of_the_bundle_and_new_ones(tmp_path: Path) -> None:
    root = touch(tmp_path, "happy/1.jpg", "Wink/2.jpg", "wink/3.jpg")
    photographs = read_photographs(root, EMOTIONS, ["WINK"])
    assert photographs.emotions == (*EMOTIONS, "wink")
    assert sorted(photographs.labels.tolist()) == [1, 8, 8]
    assert read_photographs(touch(tmp_path / "split", "train/sad/1.jpg", "test/sad/2.jpg"), EMOTIONS, (), "test").paths


@pytest.mark.parametrize(
    ("folders", "new", "message"),
    [
        (["hapiness"], [], "got 'hapiness': perhaps happiness$"),
        (["happy", "pain"], [], r"or new ones \(--new\), got 'pain'$"),
        (["happy"], ["wink"], "got wink: there are none of it"),
        (["happy"], ["Happy"], "none of the bundle's, got happiness"),
        (["w" * 101], ["w" * 101], "up to 100 characters"),
        ([], [], "folders named as labels, got no folder"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(
    tmp_path: Path, folders: list[str], new: list[str], message: str
) -> None:
    touch(tmp_path, *(f"{name}/1.jpg" for name in folders))
    with pytest.raises(DatasetError, match=message):
        read_photographs(tmp_path, EMOTIONS, new)


def test_photographs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="got nothing at"):
        read_photographs(tmp_path / "none", EMOTIONS)


def test_few_faces_and_contradictory_labels_are_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    write_expressions(tmp_path / "one", {"fear": 1, "anger": 3})
    with pytest.raises(DatasetError, match="no or 2 or more photographs with a face, got 1 of fear"):
        embed(tmp_path / "one", pipeline)
    write_expressions(tmp_path / "new", {"fear": 2, "wink": 4})
    with pytest.raises(DatasetError, match=r"a new emotion must have 5 or more .* got 4 of wink"):
        embed(tmp_path / "new", pipeline, "wink")
    root = write_expressions(tmp_path / "both", {"fear": 3, "anger": 3})
    (root / "anger" / "copy.png").write_bytes((root / "fear" / "0.png").read_bytes())
    with pytest.raises(DatasetError, match=r"one label, got anger for .*copy.png and fear for its copy .*0.png"):
        embed(root, pipeline)
    (root / "anger" / "copy.png").unlink()
    (root / "fear" / "copy.png").write_bytes((root / "fear" / "0.png").read_bytes())
    embedded = embed(root, pipeline)
    assert (len(embedded.faces), embedded.left_out) == (6, {"copies of another photograph": 1})


def test_people_are_kept_together(tmp_path: Path, pipeline: Pipeline) -> None:
    root = write_expressions(tmp_path, {"fear": 4, "anger": 4})
    rows = [f"{label}/{number}.png,{label},p{number // 2}" for label in ("fear", "anger") for number in range(4)]
    (root / "labels.csv").write_text("\n".join(["image,label,subject", *rows]), encoding="utf-8")
    embedded = embed(root, pipeline)
    assert embedded.grouped_by == "subject"
    assert embedded.faces.groups.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    alone = "\n".join(["image,label,subject", *(row.rpartition(",")[0] + ",me" for row in rows)])
    (root / "labels.csv").write_text(alone, encoding="utf-8")
    assert embed(root, pipeline).grouped_by == "photograph"


def test_report_and_bundle_of_a_new_emotion(bundle: Bundle, pipeline: Pipeline, tmp_path: Path) -> None:
    embedded = embed(write_expressions(tmp_path / "data", {"happiness": 8, "wink": 12}), pipeline, "wink")
    adaptation, report = adapt_bundle(bundle, embedded, "drawn")
    assert json.loads(json.dumps(report)) == report
    assert report["helps"]
    assert report["new_emotions"] == {"wink": 12}
    wink = report["figures"]["recall, wink"]
    assert (wink["before"], wink["gain"]) == (0.0, wink["after"])
    assert wink["after"] > 0.8
    assert wink["interval"][0] <= wink["gain"] <= wink["interval"][1]
    assert report["gallery_accuracy"]["after"] > report["gallery_accuracy"]["before"] - 0.05
    written = write_adaptation(bundle, adaptation, report, tmp_path / "out")
    adapted = load_bundle(tmp_path / "out")
    assert adapted.mixture.emotions == (*EMOTIONS, "wink")
    assert adapted.manifest.adaptation == report
    for name in (EMBEDDER, GALLERY):
        assert written.sha256[name] == bundle.manifest.sha256[name]
    assert written.sha256[MIXTURE] != bundle.manifest.sha256[MIXTURE]
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_faces_of_the_same_domain_do_not_help(bundle: Bundle, pipeline: Pipeline, tmp_path: Path) -> None:
    embedded = embed(write_expressions(tmp_path, dict.fromkeys(EMOTIONS, 4)), pipeline)
    _, report = adapt_bundle(bundle, embedded, "drawn")
    assert not report["helps"]
    assert report["figures"]["accuracy"]["before"] > 0.8


def test_another_folder_is_not_replaced(bundle: Bundle, pipeline: Pipeline, tmp_path: Path) -> None:
    adaptation, report = adapt_bundle(bundle, embed(write_expressions(tmp_path, {"fear": 3}), pipeline), "drawn")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BundleError, match="holds something else"):
        write_adaptation(bundle, adaptation, report, tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    Image.open(tmp_path / "fear" / "0.png").verify()


def test_a_bundle_can_be_adapted_in_its_place(
    bundle: Bundle, pipeline: Pipeline, tmp_path: Path, small_run: SmallRun
) -> None:
    embedded = embed(write_expressions(tmp_path / "data", {"happiness": 4, "wink": 6}), pipeline, "wink")
    adaptation, report = adapt_bundle(bundle, embedded, "drawn")
    for _ in range(2):
        write_adaptation(bundle, adaptation, report, tmp_path / "out")
    again = load_bundle(tmp_path / "out")
    np.testing.assert_array_equal(again.mixture.centroids, adaptation.mixture.centroids)
    assert load_bundle(small_run.bundle).mixture.emotions == EMOTIONS
