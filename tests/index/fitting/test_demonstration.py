"""Faces that are free to show: those of the shipped bundle, and how they are made."""

import csv
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.bundle import Bundle, load_bundle, replace_demonstration
from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import DEMONSTRATION, read_manifest, write_manifest
from mien.index.errors import BundleError
from mien.index.fitting.demonstration import read_demonstration_faces
from mien.index.gallery.face import GalleryFace
from mien.model.errors import DatasetError
from mien.model.files import sha256_of
from mien.service.inference.engine import Engine
from tests.support.data import needs_darwin, needs_london, shown_faces

SHOWN_BYTES = 1_500_000


def test_shipped_faces_are_small_pictures_with_their_source(shipped_bundle: Bundle) -> None:
    faces = shipped_bundle.demonstration
    assert (default_bundle() / DEMONSTRATION).stat().st_size < SHOWN_BYTES
    assert [face.id.partition("/")[0] for face in faces] == ["darwin"] * 30 + ["london"] * 40
    for face in faces:
        picture = Image.open(BytesIO(face.thumbnail or b""))
        assert picture.format == "WEBP"
        assert 60 < picture.width == picture.height <= 160
        assert face.metadata["caption"]
        assert face.metadata["licence"] in ("public domain", "CC BY 4.0")
        assert ("DeBruine & Jones (2017), CC BY 4.0" in face.metadata["attribution"]) == ("london" in face.id)
    assert sum(face.label is None for face in faces) == 10


@needs_darwin
@needs_london
def test_shipped_faces_are_those_of_the_photographs(
    shipped_bundle: Bundle, served_engine: Engine, tmp_path: Path
) -> None:
    data = shown_faces(tmp_path, london=2)
    made = read_demonstration_faces(data, served_engine.pipeline)
    shipped = {face.id: face for face in shipped_bundle.demonstration}
    assert len(made) == 32
    for face in made:
        stored = shipped[face.id]
        assert (face.label, face.subject, face.metadata, face.content_sha256, face.thumbnail) == (
            stored.label,
            stored.subject,
            stored.metadata,
            stored.content_sha256,
            stored.thumbnail,
        )
        np.testing.assert_allclose(face.embedding, stored.embedding, atol=1e-3)


@needs_darwin
@needs_london
def test_face_that_is_not_where_it_is_listed_is_refused(served_engine: Engine, tmp_path: Path) -> None:
    data = shown_faces(tmp_path, london=1)
    plate = data / "darwin" / "plate-1.jpg"
    plate.unlink()
    shutil.copyfile(data / "darwin" / "plate-7.jpg", plate)
    with pytest.raises(DatasetError, match=r"plate-1\.jpg: expected a face at \(0\.827, 0\.135\) \(darwin/plate-1/1\)"):
        read_demonstration_faces(data, served_engine.pipeline)
    plate.unlink()
    with pytest.raises(DatasetError, match=r"plate-1\.jpg: No such file"):
        read_demonstration_faces(data, served_engine.pipeline)
    with pytest.raises(DatasetError):
        read_demonstration_faces(tmp_path / "nothing", served_engine.pipeline)


def small(faces: tuple[GalleryFace, ...]) -> list[GalleryFace]:
    return [replace(face, thumbnail=face.id.encode()) for face in faces[:3]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_bundle(), tmp_path / "bundle"))


def test_written_faces_are_read_back(shipped_bundle: Bundle, folder: Path) -> None:
    faces = small(shipped_bundle.demonstration)
    replace_demonstration(folder, faces)
    loaded = load_bundle(folder).demonstration
    assert [vars(face) | {"embedding": face.embedding.tolist()} for face in loaded] == [
        vars(face) | {"embedding": face.embedding.tolist()} for face in faces
    ]


def test_bundle_without_them_is_loaded(folder: Path) -> None:
    (folder / DEMONSTRATION).unlink()
    manifest = read_manifest(folder)
    sha256 = {name: digest for name, digest in manifest.sha256.items() if name != DEMONSTRATION}
    write_manifest(folder, manifest.model_copy(update={"sha256": sha256}))
    assert load_bundle(folder).demonstration == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedder_sha256": np.array("another")}, "was made with another"),
        ({"fields": np.array(["{"] * 3)}, "is broken"),
        ({"fields": np.array(["[]"] * 3)}, "is broken"),
        ({"fields": np.array(['{"metadata": 7}'] * 3)}, "is broken: the metadata"),
        ({"ids": np.array(["a", "a", "b"])}, "is broken: the id 'a' occurs twice"),
        ({"ids": np.array(["a", "fer0000002", "b"])}, "the id 'fer0000002' is that of another face"),
        ({"ends": np.array([1.0, 2.0, 3.0])}, "ends must be integers"),
    ],
)
def test_broken_file_is_refused(
    shipped_bundle: Bundle, folder: Path, change: dict[str, np.ndarray], message: str
) -> None:
    replace_demonstration(folder, small(shipped_bundle.demonstration))
    path = folder / DEMONSTRATION
    with np.load(path) as file:
        arrays = dict(file) | change
    np.savez_compressed(path, **arrays)
    manifest = read_manifest(folder)
    sha256 = manifest.sha256 | {DEMONSTRATION: sha256_of(path)}
    write_manifest(folder, manifest.model_copy(update={"sha256": sha256}))
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_every_figure_is_listed_once() -> None:
    import mien.index.fitting.demonstration as module

    path = Path(str(module.__file__)).parent / "darwin.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["figure"] for row in rows}) == len({(row["file"], row["x"], row["y"]) for row in rows}) == 30
