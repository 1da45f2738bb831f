import csv
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.model.datasets.ferplus import LabelledFaces, NearCopies, Split, read_ferplus, read_near_copies
from mien.model.emotions import EMOTIONS, UNLABELLED, VOTE_COLUMNS, labels
from mien.model.errors import DatasetError

MakeFaces = Callable[..., LabelledFaces]
WriteSplit = Callable[[Path, Split, LabelledFaces], Path]

SPLITS: tuple[Split, ...] = ("Training", "PublicTest", "PrivateTest")


def assert_same(found: LabelledFaces, expected: LabelledFaces) -> None:
    assert found.names == expected.names
    assert found.images.dtype == np.uint8
    assert found.votes.dtype == np.int64
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.votes, expected.votes)


def joined(*parts: LabelledFaces) -> LabelledFaces:
    return LabelledFaces(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.votes for part in parts]),
    )


def write_tables(
    root: Path, splits: dict[Split, LabelledFaces], *, named: bool, unlabelled: frozenset[str] = frozenset()
) -> None:
    """``fer2013.csv`` and ``fer2013new.csv``; a face in ``unlabelled`` keeps its row and loses its name."""
    pixel_rows, vote_rows = [], []
    for split, faces in splits.items():
        for name, image, votes in zip(faces.names, faces.images, faces.votes, strict=True):
            shown = "" if name in unlabelled else name
            pixels = " ".join(map(str, image.ravel().tolist()))
            pixel_rows.append([3, pixels, split] + ([shown] if named else []))
            vote_rows.append([split, shown, *votes.tolist()])
    if named:
        random.Random(0).shuffle(pixel_rows)  # noqa: S311
    write_csv(root / "fer2013.csv", [["emotion", "pixels", "Usage"] + (["Image name"] if named else []), *pixel_rows])
    write_csv(root / "fer2013new.csv", [["Usage", "Image name", *VOTE_COLUMNS], *vote_rows])


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def change(path: Path, line: int, edit: Callable[[str], str]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = edit(lines[line - 1])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def sort(faces: LabelledFaces) -> LabelledFaces:
    return faces.take(np.argsort(faces.names))


@pytest.fixture
def folder(tmp_path: Path, make_faces: MakeFaces, write_split: WriteSplit) -> Path:
    return write_split(tmp_path, "Training", make_faces(4))


@pytest.fixture
def tables(tmp_path: Path, make_faces: MakeFaces) -> Path:
    write_tables(tmp_path, {"Training": make_faces(3), "PublicTest": make_faces(2, seed=9)}, named=False)
    return tmp_path


def test_folders_are_read(tmp_path: Path, make_faces: MakeFaces, write_split: WriteSplit) -> None:
    made = {split: make_faces(5, seed=seed) for seed, split in enumerate(SPLITS)}
    for split, faces in made.items():
        write_split(tmp_path, split, faces)
    for split, faces in made.items():
        assert_same(read_ferplus(tmp_path, split), faces)


@pytest.mark.parametrize("named", [False, True])
def test_tables_give_the_same_faces(tmp_path: Path, make_faces: MakeFaces, named: bool) -> None:
    made = {split: make_faces(6, seed=10 * seed) for seed, split in enumerate(SPLITS)}
    gone = made["Training"].names[2]
    write_tables(tmp_path, made, named=named, unlabelled=frozenset({gone, made["PublicTest"].names[0]}))
    for split, kept in (("Training", [0, 1, 3, 4, 5]), ("PublicTest", [1, 2, 3, 4, 5]), ("PrivateTest", [*range(6)])):
        assert_same(sort(read_ferplus(tmp_path, split)), made[split].take(np.array(kept)))  # type: ignore[index, arg-type]


def test_folders_come_before_tables(tmp_path: Path, make_faces: MakeFaces, write_split: WriteSplit) -> None:
    write_tables(tmp_path, {"Training": make_faces(3)}, named=False)
    write_split(tmp_path, "Training", make_faces(5, seed=1))
    assert len(read_ferplus(tmp_path, "Training")) == 5


def test_last_of_two_rows_with_one_name_stays(tmp_path: Path, make_faces: MakeFaces) -> None:
    # The published fer2013new.csv names three images twice.
    faces, later = make_faces(4), make_faces(1, seed=5)
    again = LabelledFaces(faces.names[1:2], later.images, later.votes)
    write_tables(tmp_path, {"Training": joined(faces, again)}, named=False)
    found = read_ferplus(tmp_path, "Training")
    assert found.names == faces.names
    np.testing.assert_array_equal(found.images[1], later.images[0])
    np.testing.assert_array_equal(found.votes[1], later.votes[0])


def test_table_of_votes_may_lack_a_split_that_is_not_read(tmp_path: Path, make_faces: MakeFaces) -> None:
    made = {split: make_faces(4, seed=10 * seed) for seed, split in enumerate(SPLITS)}
    write_tables(tmp_path, made, named=False)
    votes = tmp_path / "fer2013new.csv"
    votes.write_text("".join(votes.read_text().splitlines(keepends=True)[:-4]))
    assert_same(read_ferplus(tmp_path, "Training"), made["Training"])
    assert_same(read_ferplus(tmp_path, "PublicTest"), made["PublicTest"])
    with pytest.raises(
        DatasetError, match=r"fer2013\.csv, line 10: .* got PrivateTest where fer2013new\.csv has its end"
    ):
        read_ferplus(tmp_path, "PrivateTest")


def test_table_of_pixels_that_ends_early_is_refused(tables: Path) -> None:
    pixels = tables / "fer2013.csv"
    pixels.write_text("".join(pixels.read_text().splitlines(keepends=True)[:-1]))
    assert len(read_ferplus(tables, "Training")) == 3
    with pytest.raises(
        DatasetError, match=r"fer2013\.csv, line 6: .* got the end where fer2013new\.csv has PublicTest"
    ):
        read_ferplus(tables, "PublicTest")


def test_tables_out_of_step_are_refused(tables: Path) -> None:
    votes = tables / "fer2013new.csv"
    lines = votes.read_text().splitlines(keepends=True)
    votes.write_text("".join([*lines[:2], *lines[3:]]))
    with pytest.raises(
        DatasetError, match=r"fer2013\.csv, line 4: .* got Training where fer2013new\.csv has PublicTest"
    ):
        read_ferplus(tables, "Training")


def test_byte_order_mark_is_no_part_of_the_first_column(tables: Path) -> None:
    votes = tables / "fer2013new.csv"
    votes.write_bytes(b"\xef\xbb\xbf" + votes.read_bytes())
    assert len(read_ferplus(tables, "Training")) == 3


@pytest.mark.parametrize("present", [(), ("fer2013.csv",), ("fer2013new.csv",)])
def test_folder_without_either_layout_is_refused(tmp_path: Path, present: tuple[str, ...]) -> None:
    for name in present:
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=r"no FER\+ PublicTest split: expected FER2013Valid/label\.csv"):
        read_ferplus(tmp_path, "PublicTest")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row.rsplit(",", 1)[0], "got 11 fields"),
        (lambda row: row + ",0", "got 13 fields"),
        (lambda row: row.rsplit(",", 1)[0] + ",many", "whole numbers, got .*'many'"),
        (lambda row: row.rsplit(",", 1)[0] + ",0.5", "whole numbers, got .*'0.5'"),
        (lambda row: row.rsplit(",", 1)[0] + ",-1", "from 0 to .* got .*'-1'"),
        (lambda row: row.rsplit(",", 1)[0] + "," + "9" * 30, "from 0 to"),
        (lambda row: "absent.png" + row[row.index(",") :], "absent.png must be a 48x48 PNG file, got .*No such file"),
        (lambda row: row[row.index(",") :], "PNG file"),
        (lambda row: "fer0000003.png" + row[row.index(",") :], "expected each image once, got fer0000003.png again"),
    ],
)
def test_broken_line_of_a_label_file_is_named(folder: Path, edit: Callable[[str], str], message: str) -> None:
    change(folder / "label.csv", 3, edit)
    with pytest.raises(DatasetError, match=rf"label\.csv, line 3: .*{message}"):
        read_ferplus(folder.parent, "Training")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-800])


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:200] = b"\0" * 140
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not an image"),
        lambda path: Image.new("L", (48, 48)).save(path, format="JPEG"),
        lambda path: Image.new("L", (47, 48)).save(path),
        lambda path: Image.new("L", (96, 96)).save(path),
        lambda path: (path.unlink(), path.mkdir()),
        truncate,
        damage,
    ],
)
def test_broken_image_is_named_with_its_line(folder: Path, spoil: Callable[[Path], None]) -> None:
    spoil(folder / "fer0000006.png")
    with pytest.raises(DatasetError, match=r"label\.csv, line 3: .*fer0000006\.png must .*48x48"):
        read_ferplus(folder.parent, "Training")


def test_any_damage_to_an_image_is_a_dataset_error_or_harmless(folder: Path) -> None:
    path = folder / "fer0000006.png"
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for place in generator.integers(0, len(content), 3):
            content[place] = generator.integers(0, 256)
        path.write_bytes(content[: generator.integers(1, len(content))] if generator.random() < 0.3 else content)
        try:
            assert read_ferplus(folder.parent, "Training").images.shape == (4, 48, 48)
        except DatasetError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_label_file_is_refused(folder: Path, content: str) -> None:
    (folder / "label.csv").write_text(content)
    with pytest.raises(DatasetError, match=r"label\.csv lists no images"):
        read_ferplus(folder.parent, "Training")


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "label.csv").write_bytes(b"\xff\xfe\x00f")
    with pytest.raises(DatasetError, match=r"label\.csv, after line 0: expected UTF-8"):
        read_ferplus(folder.parent, "Training")


def test_blank_lines_are_skipped(folder: Path) -> None:
    change(folder / "label.csv", 2, lambda row: row + "\n")
    assert len(read_ferplus(folder.parent, "Training")) == 4
    change(folder / "label.csv", 4, lambda row: row + ",0")
    with pytest.raises(DatasetError, match="line 4"):
        read_ferplus(folder.parent, "Training")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row.replace("Training", "12,Training"), "expected 3 fields, got 4"),
        (lambda row: row.rsplit(",", 1)[0], "expected 3 fields, got 2"),
        (lambda row: row.replace(" ", " x", 1), "whole numbers from 0 to 255"),
        (lambda row: row.replace(" ", " 1.5 ", 1), "whole numbers from 0 to 255"),
        (lambda row: row.replace(" ", " 256 ", 1), "whole numbers from 0 to 255"),
        (lambda row: row.replace(" ", " -1 ", 1), "whole numbers from 0 to 255"),
        (lambda row: row.replace(" ", " 7 ", 1), "expected 2304 pixels, got 2305"),
        (lambda row: "0,,Training", "expected 2304 pixels, got 0"),
    ],
)
def test_broken_line_of_pixels_is_named(tables: Path, edit: Callable[[str], str], message: str) -> None:
    change(tables / "fer2013.csv", 3, edit)
    with pytest.raises(DatasetError, match=rf"fer2013\.csv, line 3: .*{message}"):
        read_ferplus(tables, "Training")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row.rsplit(",", 1)[0], "expected 12 fields, got 11"),
        (lambda row: row.rsplit(",", 1)[0] + ",none", "whole numbers, got .*'none'"),
        (lambda row: row.rsplit(",", 1)[0] + ",-2", "from 0 to"),
    ],
)
def test_broken_line_of_votes_is_named(tables: Path, edit: Callable[[str], str], message: str) -> None:
    change(tables / "fer2013new.csv", 3, edit)
    with pytest.raises(DatasetError, match=rf"fer2013new\.csv, line 3: .*{message}"):
        read_ferplus(tables, "Training")


@pytest.mark.parametrize(
    ("table", "column"), [("fer2013.csv", "pixels"), ("fer2013new.csv", "Image name"), ("fer2013new.csv", "contempt")]
)
def test_missing_column_is_named(tables: Path, table: str, column: str) -> None:
    change(tables / table, 1, lambda heading: heading.replace(column, "other"))
    with pytest.raises(DatasetError, match=rf"{table}, line 1: .*missing {column}$"):
        read_ferplus(tables, "Training")


@pytest.mark.parametrize("table", ["fer2013.csv", "fer2013new.csv"])
def test_empty_table_is_refused(tables: Path, table: str) -> None:
    (tables / table).write_text("")
    with pytest.raises(DatasetError, match=rf"{table}, line 1: expected the columns"):
        read_ferplus(tables, "Training")


def test_tables_without_a_named_image_of_the_split_are_refused(tables: Path) -> None:
    with pytest.raises(DatasetError, match="share no named image of PrivateTest"):
        read_ferplus(tables, "PrivateTest")


def test_faces_are_taken_by_index_and_by_mask(make_faces: MakeFaces) -> None:
    faces = make_faces(5)
    by_index = faces.take(np.array([3, 1]))
    assert by_index.names == (faces.names[3], faces.names[1])
    np.testing.assert_array_equal(by_index.images, faces.images[[3, 1]])
    np.testing.assert_array_equal(by_index.votes, faces.votes[[3, 1]])
    assert_same(faces.take(np.array([False, True, False, True, False])), faces.take(np.array([1, 3])))
    assert len(faces.take(np.zeros(5, dtype=np.bool_))) == 0


def test_near_copies_are_read(tmp_path: Path) -> None:
    heading = ["image", "exact_group", "near_group", "valid_leaks_training"]
    rows = [["a.png", 5, 7, False], ["b.png", 6, 7, True], ["c.png", 9, 0, "true"]]
    write_csv(tmp_path / "duplicates.csv", [heading, *rows])
    copies = read_near_copies(tmp_path)
    assert copies.leaks == {"b.png", "c.png"}
    assert copies.groups_of(("b.png", "c.png", "a.png")).tolist() == [7, 0, 7]


def test_without_the_file_there_are_no_near_copies(tmp_path: Path) -> None:
    copies = read_near_copies(tmp_path)
    assert copies.leaks == frozenset()
    assert len(set(copies.groups_of(("a.png", "b.png", "c.png")).tolist())) == 3


def test_unlisted_image_has_a_group_of_its_own_across_calls() -> None:
    copies = NearCopies({"listed.png": 0}, frozenset())
    queries = copies.groups_of(("a.png", "b.png", "listed.png"))
    gallery = copies.groups_of(tuple(f"g{row}.png" for row in range(1000)))
    assert queries.dtype == np.int64
    assert len(set(queries.tolist()) | set(gallery.tolist())) == 1003
    assert copies.groups_of(("b.png",))[0] == queries[1]  # an image is a copy of itself in every call


@pytest.mark.parametrize("group", ["", "none", "1.0", "-1", "²"])
def test_group_that_is_no_number_is_named(tmp_path: Path, group: str) -> None:
    write_csv(
        tmp_path / "duplicates.csv",
        [["image", "near_group", "valid_leaks_training"], ["a.png", 1, False], ["b.png", group, False]],
    )
    with pytest.raises(DatasetError, match=r"duplicates\.csv, line 3: near_group must be a whole number"):
        read_near_copies(tmp_path)


def test_near_copies_need_their_columns(tmp_path: Path) -> None:
    write_csv(tmp_path / "duplicates.csv", [["image", "near_group"], ["a.png", 1]])
    with pytest.raises(DatasetError, match=r"duplicates\.csv, line 1: .*missing valid_leaks_training"):
        read_near_copies(tmp_path)


@pytest.mark.parametrize("ending", ["", ".png"])
def test_own_labels_of_fer2013_are_read_with_the_votes(
    tmp_path: Path, make_faces: MakeFaces, write_split: WriteSplit, ending: str
) -> None:
    faces = make_faces(16)
    write_split(tmp_path, "Training", faces)
    assert read_ferplus(tmp_path, "Training").opinions is None
    rows = [[Path(name).stem + ending, "Training", "fear"] for name in faces.names[:3]]
    write_csv(tmp_path / "fer2013_labels.csv", [["name", "split", "fer2013_label"], *rows, ["other", "", "anger"]])
    opinions = read_ferplus(tmp_path, "Training").opinions
    assert opinions is not None
    assert opinions.tolist() == [EMOTIONS.index("fear")] * 3 + [UNLABELLED] * 13
    taken = read_ferplus(tmp_path, "Training").take(np.array([2, 5])).opinions
    assert taken is not None
    assert taken.tolist() == [EMOTIONS.index("fear"), UNLABELLED]


def test_own_labels_of_fer2013_are_read_from_its_table(tables: Path) -> None:
    opinions = read_ferplus(tables, "Training").opinions
    assert opinions is not None
    assert opinions.tolist() == [EMOTIONS.index("happiness")] * 3, "emotion 3 of fer2013.csv"
    change(tables / "fer2013.csv", 2, lambda line: "7" + line[1:])
    with pytest.raises(DatasetError, match=r"fer2013\.csv, line 2: emotion must be from 0 to 6, got '7'"):
        read_ferplus(tables, "Training")


def test_own_label_that_is_not_an_emotion_is_refused(
    tmp_path: Path, make_faces: MakeFaces, write_split: WriteSplit
) -> None:
    write_split(tmp_path, "Training", make_faces(8))
    write_csv(tmp_path / "fer2013_labels.csv", [["name", "fer2013_label"], ["fer0000000", "6"]])
    with pytest.raises(DatasetError, match=r"line 2: fer2013_label must be one of neutral, .*, got '6'"):
        read_ferplus(tmp_path, "Training")


def test_real_validation_faces_are_read(ferplus_root: Path) -> None:
    faces = read_ferplus(ferplus_root, "PublicTest")
    assert len(faces) == 3_579
    assert faces.images.shape == (3_579, 48, 48)
    assert int((labels(faces.votes) != UNLABELLED).sum()) == 3_191
    copies = read_near_copies(ferplus_root)
    assert len(copies.leaks & set(faces.names)) == 311
    assert (copies.groups_of(faces.names) >= 0).all()


def test_both_layouts_give_the_same_real_faces(ferplus_root: Path, tmp_path: Path, write_split: WriteSplit) -> None:
    # Names, gaps and nameless rows as published; pixels from the folder, in the published order.
    with (ferplus_root / "fer2013new.csv").open(newline="", encoding="utf-8") as file:
        heading, *rows = csv.reader(file)
    rows = [row for row in rows if row[0] == "PublicTest"]
    nameless = next(position for position, row in enumerate(rows) if not row[1])
    rows = rows[max(0, nameless - 150) : nameless + 150]
    names = [row[1] for row in rows if row[1]]
    pixels = {name: np.asarray(Image.open(ferplus_root / "FER2013Valid" / name)) for name in names}
    blank = np.zeros((48, 48), np.uint8)
    write_csv(
        tmp_path / "fer2013.csv",
        [["emotion", "pixels", "Usage"]]
        + [[0, " ".join(map(str, pixels.get(row[1], blank).ravel())), "PublicTest"] for row in rows],
    )
    write_csv(tmp_path / "fer2013new.csv", [heading, *rows])
    from_tables = read_ferplus(tmp_path, "PublicTest")
    write_split(tmp_path, "PublicTest", from_tables)
    assert_same(read_ferplus(tmp_path, "PublicTest"), from_tables)
    assert from_tables.names == tuple(names)
    np.testing.assert_array_equal(from_tables.images, np.stack([pixels[name] for name in names]))
