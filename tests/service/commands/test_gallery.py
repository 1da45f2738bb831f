"""``mien gallery`` on real files: import, export, snapshot, restore, check."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest, sha256_of
from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.store import every_face
from mien.model.embedder.embedder import Embedder
from mien.service.commands.main import main
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun

SIZE = 64


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIEN_GALLERY", str(tmp_path / "gallery"))


def opened(tmp_path: Path, name: str = "gallery") -> EmbeddedGallery:
    return open_embedded_gallery(tmp_path / name, SIZE, read_manifest(default_bundle()).sha256[EMBEDDER])


def contents(tmp_path: Path, name: str = "gallery") -> dict[str, Any]:
    store = opened(tmp_path, name)
    faces = {each.id: each for each in every_face(store)}
    store.close()
    return faces


@pytest.fixture
def pictures(tmp_path: Path, make_faces: MakeFaces) -> Path:
    """Six crops in two folders, of which one is named as an emotion; a text among them."""
    for row, crop in enumerate(make_faces(6).images):
        folder = tmp_path / "pictures" / ("happiness" if row % 2 else "others")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(folder / f"{row}.png")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def test_folder_is_imported_once_and_skipped_files_are_reported(pictures: Path, tmp_path: Path) -> None:
    command = ["gallery", "import", str(pictures), "--already-cropped", "--skipped", str(tmp_path / "skipped.csv")]
    assert main(command) == 1
    faces = contents(tmp_path)
    assert sorted(faces) == [
        "happiness/1.png", "happiness/3.png", "happiness/5.png", "others/0.png", "others/2.png", "others/4.png",
    ]  # fmt: skip
    assert faces["happiness/1.png"].label == "happiness"
    assert faces["others/0.png"].label is None
    assert faces["others/0.png"].emotion
    with (tmp_path / "skipped.csv").open(encoding="utf-8") as file:
        ((source, _, reason),) = list(csv.reader(file))[1:]
    assert source.endswith("notes.txt")
    assert "expected an image" in reason
    (pictures / "notes.txt").unlink()
    Image.new("L", (48, 48), 90).save(pictures / "new.png")
    assert main(command) == 0
    again = contents(tmp_path)
    assert len(again) == 7
    assert again["others/0.png"].sequence == faces["others/0.png"].sequence


def test_interrupted_import_continues_without_duplicates(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a kill leaves: some faces are in, as far as the last batch."""
    (pictures / "notes.txt").unlink()
    assert main(["gallery", "import", str(pictures), "--already-cropped"]) == 0
    store = opened(tmp_path)
    store.delete(["happiness/5.png", "others/4.png"])
    store.close()
    capfd.readouterr()
    assert main(["gallery", "import", str(pictures), "--already-cropped"]) == 0
    assert "2 added, 0 replaced, 4 there already, 0 skipped" in capfd.readouterr().err.replace("\n", " ")
    assert len(contents(tmp_path)) == 6


def test_table_gives_labels_subjects_and_metadata(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "faces.csv"
    rows = [
        ["path", "id", "label", "subject", "metadata", "time"],
        ["pictures/others/0.png", "a", "fear", "anna", '{"camera": {"n": 1}}', "2026-01-01"],
        ["pictures/others/2.png", "", "", "", "", "12.5"],
        ["pictures/nowhere.png", "c", "", "", "", ""],
        ["pictures/others/4.png", "d", "", "", "{broken", ""],
        ["pictures/others/4.png", "a", "", "", "", ""],
        ["pictures/others/4.png", "e", "", "", "", "soon"],
    ]
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    skipped = tmp_path / "skipped.csv"
    assert main(["gallery", "import", str(table), "--already-cropped", "--skipped", str(skipped)]) == 1
    faces = contents(tmp_path)
    assert sorted(faces) == ["a", "pictures/others/2.png"]
    assert (faces["a"].label, faces["a"].subject, faces["a"].metadata) == ("fear", "anna", {"camera": {"n": 1}})
    assert faces["a"].time == 1_767_225_600
    with skipped.open(encoding="utf-8") as file:
        assert [row[1] for row in list(csv.reader(file))[1:]] == ["c", "d", "a", "e"]


def test_embeddings_of_mien_embed_are_imported_unchanged(pictures: Path, tmp_path: Path) -> None:
    archive = tmp_path / "faces.npz"
    assert main(["embed", str(pictures / "others"), "--output", str(archive), "--already-cropped"]) == 0
    assert main(["gallery", "import", str(archive)]) == 0
    with np.load(archive) as given:
        embeddings, paths = given["embeddings"], given["paths"]
    faces = contents(tmp_path)
    assert len(faces) == 3
    for path, embedding in zip(paths, embeddings, strict=True):
        np.testing.assert_array_equal(faces[str(path).lstrip("/")].embedding, embedding)


def test_archive_of_another_network_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    embeddings = np.zeros((1, SIZE), dtype=np.float32)
    np.savez(tmp_path / "faces.npz", paths=np.array(["a"]), embeddings=embeddings, embedder_sha256=np.array("0" * 64))
    assert main(["gallery", "import", str(tmp_path / "faces.npz")]) == 1
    assert "two networks" in capfd.readouterr().err
    assert contents(tmp_path) == {}


def test_export_and_import_give_the_same_gallery(pictures: Path, tmp_path: Path) -> None:
    main(["gallery", "import", str(pictures), "--already-cropped"])
    store = opened(tmp_path)
    store.update("others/0.png", {"subject": "anna", "metadata": {"x": [1, {"y": None}]}})
    store.close()
    assert main(["gallery", "export", str(tmp_path / "all.parquet")]) == 0
    other = ["--gallery", str(tmp_path / "other")]
    assert main(["gallery", "import", str(tmp_path / "all.parquet"), *other]) == 0
    ours, theirs = contents(tmp_path), contents(tmp_path, "other")
    assert ours.keys() == theirs.keys()
    for face_id, face in ours.items():
        np.testing.assert_array_equal(face.embedding, theirs[face_id].embedding)
        for name in ("label", "emotion", "sub_class", "subject", "metadata", "time", "content_sha256"):
            assert getattr(face, name) == getattr(theirs[face_id], name)


def test_thumbnails_survive_export_and_import(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pictures / "notes.txt").unlink()
    monkeypatch.setenv("MIEN_GALLERY_THUMBNAILS", "true")
    main(["gallery", "import", str(pictures / "others"), "--already-cropped"])
    monkeypatch.setenv("MIEN_GALLERY_THUMBNAILS", "false")
    main(["gallery", "import", str(pictures / "happiness"), "--already-cropped"])
    without, table = tmp_path / "without.parquet", tmp_path / "all.parquet"
    assert main(["gallery", "export", str(without)]) == 0
    assert main(["gallery", "export", str(table), "--thumbnails"]) == 0
    assert main(["gallery", "import", str(without), "--gallery", str(tmp_path / "bare")]) == 0
    assert main(["gallery", "import", str(table), "--gallery", str(tmp_path / "other")]) == 0
    ours, theirs, bare = (opened(tmp_path, name) for name in ("gallery", "other", "bare"))
    ids = [face.id for face in every_face(ours)]
    assert sorted(ours.thumbnails(ids)) == ["0.png", "2.png", "4.png"]
    assert theirs.thumbnails(ids) == ours.thumbnails(ids)
    assert bare.thumbnails(ids) == {}
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(theirs.get("0.png").thumbnail or b""))),
        np.asarray(Image.open(pictures / "others" / "0.png")),
    )
    for store in (ours, theirs, bare):
        store.close()


def test_thumbnail_that_is_not_bytes_is_skipped_with_its_reason(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    rows = {"id": ["a"], "embedding": [[0.0] * SIZE], "thumbnail": ["a text"]}
    arrow.parquet.write_table(arrow.table(rows), tmp_path / "t.parquet")
    assert main(["gallery", "import", str(tmp_path / "t.parquet"), "--skipped", str(tmp_path / "skipped.csv")]) == 1
    assert "a thumbnail must be the bytes of an image file, got str" in (tmp_path / "skipped.csv").read_text()


def test_snapshot_restore_and_check(pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (pictures / "notes.txt").unlink()
    main(["gallery", "import", str(pictures), "--already-cropped"])
    assert main(["gallery", "snapshot", str(tmp_path / "kept")]) == 0
    store = opened(tmp_path)
    store.delete(["others/0.png"])
    assert main(["gallery", "restore", str(tmp_path / "kept")]) == 0, "a service may have it open"
    store.close()
    capfd.readouterr()
    assert main(["gallery", "check"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["faces"] == 6
    assert report["recall_at_10"] == 1
    assert report["memory_agrees_with_database"] is True


@pytest.mark.parametrize("name", ["nothing.csv", "file.txt", "empty.npz", "broken.parquet", "columns.csv"])
def test_file_that_is_not_a_manifest_is_an_error(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    if name != "nothing.csv":
        (tmp_path / name).write_text("colour,size\nred,1\n")
    assert main(["gallery", "import", str(tmp_path / name)]) == 1
    assert name in capfd.readouterr().err


def test_gallery_must_be_named(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("MIEN_GALLERY")
    assert main(["gallery", "check"]) == 1
    assert "--gallery or MIEN_GALLERY" in capfd.readouterr().err


def test_gallery_is_embedded_again_for_another_network(
    pictures: Path, tmp_path: Path, small_run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "notes.txt").unlink()
    monkeypatch.setenv("MIEN_GALLERY_THUMBNAILS", "true")
    assert main(["gallery", "import", str(pictures / "others"), "--already-cropped"]) == 0
    monkeypatch.setenv("MIEN_GALLERY_THUMBNAILS", "false")
    assert main(["gallery", "import", str(pictures), "--already-cropped"]) == 0
    old = contents(tmp_path)
    command = ["gallery", "re-embed", str(tmp_path / "anew"), "--bundle", str(small_run.bundle)]
    assert main(command) == 1, "some have no thumbnail"
    assert "0.png" in old
    assert "others/0.png" in old
    assert main([*command, "--originals", str(pictures), "--already-cropped"]) == 0
    embedder = Embedder(small_run.network)
    store = open_embedded_gallery(tmp_path / "anew", embedder.embedding_size, sha256_of(small_run.network))
    anew = {each.id: each for each in every_face(store)}
    store.close()
    assert anew.keys() == old.keys()
    crop = np.asarray(Image.open(pictures / "happiness" / "1.png"))
    np.testing.assert_allclose(anew["happiness/1.png"].embedding, embedder.embed(crop[None])[0], atol=1e-4)
    crop = np.asarray(Image.open(pictures / "others" / "0.png"))
    np.testing.assert_allclose(anew["0.png"].embedding, embedder.embed(crop[None])[0], atol=1e-4)
