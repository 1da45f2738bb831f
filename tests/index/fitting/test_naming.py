from pathlib import Path

import pytest

from mien.index.fitting.naming import read_names, write_names
from mien.index.mixture.sub_classes import SubClasses
from mien.model.errors import ConfigError, DatasetError

HEADING = "sub_class,face,name,description\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "names.csv"


def test_table_has_a_row_for_each_sub_class_and_is_read_back(sub_classes: SubClasses, table: Path) -> None:
    write_names(table, sub_classes)
    lines = table.read_text().splitlines()
    assert lines == ["sub_class,face,name,description", "neutral/1,a,,", "happiness/1,a,,", "happiness/2,a,,"]
    text = "happiness/1,b,broad smile,\nhappiness/2,c, closed smile ,Lips closed.\n"
    table.write_text(HEADING + text)
    named = read_names(table, sub_classes)
    assert named.names == {"happiness/1": "happiness/broad smile", "happiness/2": "happiness/closed smile"}
    assert [each.description for each in named.each] == [None, None, "Lips closed."]
    write_names(table, named)
    assert "happiness/2,a,closed smile,Lips closed." in table.read_text()


def test_names_that_the_table_lacks_are_removed(sub_classes: SubClasses, table: Path) -> None:
    table.write_text("sub_class,name,description\nhappiness/2,closed smile,\n")
    named = read_names(table, sub_classes)
    table.write_text("sub_class,name,description\nhappiness/1,broad smile,\n")
    assert read_names(table, named).names == {"happiness/1": "happiness/broad smile"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "happiness/9,,x,\n",
            "line 2: sub_class must be one of neutral/1, happiness/1, happiness/2, got 'happiness/9'",
        ),
        ("happiness/1,,x,\nhappiness/1,,y,\n", "line 3: happiness/1 has a row already"),
        ("happiness/1,,Smile,\nhappiness/2,,smile,\n", "happiness/1 and happiness/2 must have different names"),
        (f"happiness/1,,{'x' * 41},\n", "name must be one line of at most 40 characters"),
        (f"happiness/1,,x,{'y' * 201}\n", "description must be one line of at most 200 characters"),
        ('happiness/1,,"two\nlines",\n', "name must be one line"),
        ("happiness/1,,,Lips closed.\n", "a description needs a name"),
        ("happiness/1,c,x,\n", "the face c must be one of happiness/1, it is one of happiness/2"),
    ],
)
def test_names_that_do_not_fit_are_refused(sub_classes: SubClasses, table: Path, text: str, message: str) -> None:
    table.write_text(HEADING + text)
    with pytest.raises(ConfigError, match=message):
        read_names(table, sub_classes)


def test_same_name_in_two_emotions_is_allowed(sub_classes: SubClasses, table: Path) -> None:
    table.write_text(HEADING + "neutral/1,,plain,\nhappiness/1,,plain,\n")
    assert list(read_names(table, sub_classes).names.values()) == ["neutral/plain", "happiness/plain"]


def test_table_without_a_column_is_refused(sub_classes: SubClasses, table: Path) -> None:
    table.write_text("sub_class,name\nhappiness/1,x\n")
    with pytest.raises(DatasetError, match="missing description"):
        read_names(table, sub_classes)
