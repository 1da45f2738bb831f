"""Images and tables of an object store, read by Arrow's own client over S3's protocol."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import every_face
from mien.model.errors import ConfigError, DatasetError, EmptyImageError, ImageTooLargeError
from mien.model.faces.decoding import DecodingLimits
from mien.service.bulk.object_store import StoredFile, place_of
from mien.service.commands.main import main
from tests.support.faces import MakeFaces
from tests.support.object_store import object_store

pytest.importorskip("pyarrow")

SIZE = 64


@pytest.fixture
def options(tmp_path: Path, make_faces: MakeFaces, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for row, crop in enumerate(make_faces(6).images):
        folder = tmp_path / "buckets" / "faces" / "all" / ("happiness" if row % 2 else "other ones")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(folder / f"{row} #1.png")
    (tmp_path / "buckets" / "faces" / "all" / ".hidden").write_text("none")
    (tmp_path / "buckets" / "faces" / "all" / "empty.png").touch()
    with (tmp_path / "buckets" / "faces" / "table.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [["path", "id"], ["all/happiness/1 #1.png", "one"], ["s3://faces/all/happiness/3 #1.png", ""]]
        csv.writer(file).writerows([*rows, ["nowhere.png", "none"]])
    for name, value in {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MIEN_GALLERY": str(tmp_path / "gallery"),
    }.items():
        monkeypatch.setenv(name, value)
    with object_store(tmp_path / "buckets") as options:
        yield options


def contents(tmp_path: Path, name: str = "gallery") -> dict[str, GalleryFace]:
    store = open_embedded_gallery(tmp_path / name, SIZE, read_manifest(default_bundle()).sha256[EMBEDDER])
    faces = {each.id: each for each in every_face(store)}
    store.close()
    return faces


def test_bucket_is_imported_as_a_folder_is(options: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "import", f"s3://faces/all?{options}", "--already-cropped"]) == 1
    messages = capfd.readouterr().err
    assert "skipped s3://faces/all/empty.png: expected an image file, got no bytes" in messages
    assert "endpoint_override" not in messages
    here = ["--gallery", str(tmp_path / "here")]
    assert main(["gallery", "import", str(tmp_path / "buckets" / "faces" / "all"), "--already-cropped", *here]) == 1
    ours, theirs = contents(tmp_path), contents(tmp_path, "here")
    assert len(ours) == 6
    assert ours.keys() == theirs.keys()
    for face_id, face in ours.items():
        assert (face.label, face.content_sha256) == (theirs[face_id].label, theirs[face_id].content_sha256)
        np.testing.assert_array_equal(face.embedding, theirs[face_id].embedding)
    assert main(["gallery", "import", f"s3://faces/all?{options}", "--already-cropped"]) == 1
    assert "0 added, 0 replaced, 6 there already, 1 skipped" in capfd.readouterr().err.replace("\n", " ")


def test_table_in_a_bucket_is_imported(options: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "import", f"s3://faces/table.csv?{options}", "--already-cropped"]) == 1
    assert sorted(contents(tmp_path)) == ["faces/all/happiness/3 #1.png", "one"]
    assert "1 skipped" in capfd.readouterr().err


def test_size_of_a_file_is_checked_before_it_is_read(options: str) -> None:
    file = place_of(f"s3://faces/all/happiness/1 #1.png?{options}")
    assert isinstance(file, StoredFile)
    assert (file.name, file.suffix, str(file.parent)) == ("1 #1.png", ".png", "s3://faces/all/happiness")
    with pytest.raises(ImageTooLargeError, match="at most 10 bytes"):
        file.read(DecodingLimits(max_bytes=10))
    with pytest.raises(EmptyImageError):
        (file.parent.parent / "empty.png").read(DecodingLimits())
    assert not file.is_dir()
    assert file.parent.is_dir()


def test_folder_of_this_machine_has_an_address(options: str, tmp_path: Path) -> None:
    folder = place_of(f"file://{tmp_path}/buckets/faces/all")
    assert isinstance(folder, StoredFile)
    assert [each.relative_to(folder).as_posix() for each in folder.below()][:2] == ["empty.png", "happiness/1 #1.png"]


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("s3://key:secret@faces/all", ConfigError, "must not have a key"),
        ("ftp://host/faces", ConfigError, "expected an address that begins with s3://"),
    ],
)
def test_wrong_address_is_refused(address: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        place_of(address)
    assert "secret" not in str(raised.value)


def test_missing_bucket_is_an_error(options: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "import", f"s3://faces/nowhere?{options}"]) == 1
    assert "s3://faces/nowhere: expected a folder" in capfd.readouterr().err
    place = place_of(f"s3://faces/nowhere?{options}")
    assert isinstance(place, StoredFile)
    with pytest.raises(DatasetError, match="cannot be listed"):
        list(place.below())
