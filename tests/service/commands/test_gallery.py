"""``mien gallery`` on real files: import, export, snapshot, restore, check."""

import csv
import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.gallery.embedded.folder import DATABASE
from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import every_face
from mien.model.embedder.embedder import Embedder
from mien.model.faces.thumbnail import crop_of_thumbnail
from mien.model.files import sha256_of
from mien.model.pipeline import load_pipeline
from mien.service.commands.main import main
from tests.support.cartoon import cartoon
from tests.support.faces import MakeFaces
from tests.support.images import two_faces
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


def test_import_says_that_no_pictures_are_kept(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (pictures / "notes.txt").unlink()
    command = ["gallery", "import", str(pictures), "--already-cropped"]
    assert main(command) == 0
    assert "--thumbnails keeps a small one" in capfd.readouterr().err
    contents(tmp_path)
    assert main([*command, "--thumbnails"]) == 0
    assert "No pictures are kept" not in capfd.readouterr().err


def test_table_of_faces_has_whole_ids_and_no_empty_column(
    pictures: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["gallery", "import", str(pictures), "--already-cropped"])
    capfd.readouterr()
    assert main(["gallery", "list"]) == 0
    table = capfd.readouterr().out
    assert "happiness/1.png" in table
    assert "subject" not in table
    assert "…" not in table


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
    path = str(pictures / "others" / "0.png")
    metadata = {"path": path, "camera": {"n": 1}}
    assert (faces["a"].label, faces["a"].subject, faces["a"].metadata) == ("fear", "anna", metadata)
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
        crop_of_thumbnail(theirs.get("0.png").thumbnail or b""), np.asarray(Image.open(pictures / "others" / "0.png"))
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


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A photograph of two people and one of one person, each large enough to be detected."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    two_faces().save(folder / "group.jpg", quality=95)
    Image.fromarray(cartoon(400)).save(folder / "one.png")
    return folder


def test_thumbnails_are_filled_in_and_paths_are_kept(photographs: Path, tmp_path: Path) -> None:
    command = ["gallery", "import", str(photographs)]
    assert main(command) == 0
    faces = contents(tmp_path)
    assert {face_id: face.metadata for face_id, face in faces.items()} == {
        name: {"path": str(photographs / name)} for name in ("group.jpg", "one.png")
    }
    assert not any(face.has_thumbnail for face in faces.values())
    store = opened(tmp_path)
    store.update("one.png", {"metadata": {"path": None}})  # as it was before paths were kept
    store.close()
    moved = photographs.rename(tmp_path / "moved")
    assert main(["gallery", "import", str(moved), "--thumbnails"]) == 0
    filled = contents(tmp_path)
    assert all(face.has_thumbnail for face in filled.values())
    assert filled["group.jpg"].metadata == {"path": str(photographs / "group.jpg")}
    assert filled["one.png"].metadata == {}
    store = opened(tmp_path)
    picture = Image.open(io.BytesIO(store.thumbnails(["one.png"])["one.png"]))
    store.close()
    assert (picture.format, picture.size) == ("WEBP", (160, 160))


def test_all_faces_of_photographs_are_imported_on_request(photographs: Path, tmp_path: Path) -> None:
    assert main(["gallery", "import", str(photographs)]) == 0
    for _ in range(2):
        assert main(["gallery", "import", str(photographs), "--faces", "all", "--thumbnails"]) == 0
        faces = contents(tmp_path)
        assert sorted(faces) == ["group.jpg", "group.jpg#2", "one.png"]
        assert all(face.has_thumbnail for face in faces.values())
    first, second = faces["group.jpg"], faces["group.jpg#2"]
    assert (first.content_sha256, first.metadata) == (second.content_sha256, second.metadata)
    assert not np.array_equal(first.embedding, second.embedding)
    with pytest.raises(SystemExit):
        main(["gallery", "import", str(photographs), "--faces", "0"])


def test_further_faces_are_embedded_again_from_originals(
    photographs: Path, tmp_path: Path, small_run: SmallRun
) -> None:
    assert main(["gallery", "import", str(photographs), "--faces", "all"]) == 0
    anew = ["gallery", "re-embed", str(tmp_path / "anew"), "--bundle", str(small_run.bundle)]
    assert main([*anew, "--originals", str(photographs)]) == 0
    pipeline = load_pipeline(small_run.network)
    store = open_embedded_gallery(tmp_path / "anew", pipeline.embedder.embedding_size, sha256_of(small_run.network))
    expected = pipeline.embed(pipeline.read_faces((photographs / "group.jpg").read_bytes()))
    np.testing.assert_allclose(store.get("group.jpg#2").embedding, expected[1], atol=1e-4)
    store.close()


class TestSelection:
    @pytest.fixture(autouse=True)
    def faces(self, tmp_path: Path) -> None:
        store = opened(tmp_path)
        store.add(
            [
                GalleryFace(
                    f"face-{row}",
                    np.full(SIZE, row, dtype=np.float32),
                    label=("fear", "anger", None)[row % 3],
                    emotion=("fear", "happiness")[row % 2],
                    sub_class=("fear/1", "happiness/2")[row % 2],
                    subject=("anna", "ben")[row // 6],
                    time=1_767_225_600.0 + 86_400 * row,
                    thumbnail=b"a picture" if row < 2 else None,
                )
                for row in range(12)
            ]
        )
        store.close()

    @staticmethod
    def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[int]:
        main(["gallery", "list", "--json", *options])
        return sorted(int(row["id"].removeprefix("face-")) for row in json.loads(capsys.readouterr().out))

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ([], range(12)),
            (["--label", "fear"], [0, 3, 6, 9]),
            (["--label", "fear", "--label", "anger", "--subject", "anna"], [0, 1, 3, 4]),
            (["--emotion", "happiness", "--label", "fear"], [3, 9]),
            (["--sub-class", "fear/1", "--subject", "ben"], [6, 8, 10]),
            (["--since", "2026-01-03", "--until", "2026-01-05"], [2, 3]),
            (["--until", "1767225601"], [0]),
            (["--thumbnail"], [0, 1]),
            (["--no-thumbnail", "--filter", '{"label": null}'], [2, 5, 8, 11]),
        ],
    )
    def test_faces_are_listed_by_what_is_known_of_them(
        self, options: list[str], expected: Sequence[int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.listed(capsys, *options) == list(expected)

    def test_list_is_a_table_with_a_limit(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["gallery", "list", "--limit", "3", "--csv"]) == 0
        shown = capsys.readouterr()
        assert len(list(csv.DictReader(shown.out.splitlines()))) == 3
        assert "3 of 12 faces" in shown.err
        assert main(["gallery", "list", "--subject", "nobody"]) == 1
        assert "0 of 0 faces" in capsys.readouterr().err

    def test_face_is_shown_with_its_neighbours(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["gallery", "show", "face-1", "--neighbours", "2", "--thumbnail", str(tmp_path / "face")]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["id"], shown["label"], shown["emotion"]) == ("face-1", "anger", "happiness")
        assert [each["id"] for each in shown["neighbours"]] == ["face-0", "face-2"]
        assert (tmp_path / "face").read_bytes() == b"a picture"
        assert main(["gallery", "show", "face-5", "--thumbnail", str(tmp_path / "none")]) == 1
        assert not (tmp_path / "none").exists()
        capsys.readouterr()
        assert main(["gallery", "show", "nobody"]) == 1
        assert "no face with the id 'nobody'" in capsys.readouterr().err

    def test_faces_are_deleted_by_id_and_by_selection(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["gallery", "delete", "--subject", "ben", "--dry-run"]) == 0
        assert "6 faces would be deleted" in capsys.readouterr().err
        assert len(self.listed(capsys)) == 12
        assert main(["gallery", "delete", "--subject", "ben", "--label", "fear"]) == 0
        assert "2 faces deleted" in capsys.readouterr().err
        assert main(["gallery", "delete", "face-0", "nobody"]) == 1
        told = capsys.readouterr().err
        assert "no face with the id nobody" in told
        assert "1 faces deleted" in told
        assert self.listed(capsys) == [1, 2, 3, 4, 5, 7, 8, 10, 11]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["delete"], "which faces?"),
            (["delete", "face-1", "--label", "fear"], "which faces?"),
            (["list", "--since", "yesterday"], "expected seconds since 1970 or an ISO 8601 date"),
            (["list", "--filter", "{"], "not JSON"),
            (["list", "--gallery", "nowhere"], "got nowhere, which is not there"),
        ],
    )
    def test_wrong_options_are_one_sentence(
        self, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["gallery", *options]) == 1
        assert words in " ".join(capsys.readouterr().err.split())
        assert not Path("nowhere").exists()


def test_check_names_damaged_faces_and_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = opened(tmp_path)
    store.add([GalleryFace(name, np.full(SIZE, 0.1, np.float32)) for name in ("whole", "spoiled")])
    store.close()
    with closing(sqlite3.connect(tmp_path / "gallery" / DATABASE)) as connection, connection:
        connection.execute("UPDATE faces SET embedding = x'00' WHERE id = 'spoiled'")
    assert main(["gallery", "check", "--thorough"]) == 1
    captured = capfd.readouterr()
    report = json.loads(captured.out)
    assert report["faces"] == 1
    assert report["faults"] == [{"id": "spoiled", "fault": "its embedding must have 256 bytes, got 1"}]
    assert "was set aside" in captured.err
    assert main(["gallery", "delete", "spoiled"]) == 0
    assert main(["gallery", "check"]) == 0


def test_snapshot_is_restored_over_a_gallery_that_cannot_be_opened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = opened(tmp_path)
    store.add([GalleryFace("kept", np.full(SIZE, 0.1, np.float32))])
    store.close()
    assert main(["gallery", "snapshot", str(tmp_path / "snapshot")]) == 0
    database = tmp_path / "gallery" / DATABASE
    database.write_bytes(database.read_bytes()[:4096] + b"noise" * 10_000)
    assert main(["gallery", "list"]) == 1
    assert "mien gallery restore puts a snapshot in its place" in " ".join(capfd.readouterr().err.split())
    assert main(["gallery", "restore", str(tmp_path / "snapshot")]) == 0
    assert "restored 1 faces" in capfd.readouterr().err
    assert list(contents(tmp_path)) == ["kept"]
