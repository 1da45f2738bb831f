"""What commands show in a terminal: paths, rates of progress."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mien.service.commands.terminal import LeftEllipsis, RateColumn, show_step


def printed(path: str, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    table = Table("file", "emotion")
    table.add_row(LeftEllipsis(path), "happiness")
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_long_path_loses_its_beginning() -> None:
    path = "/archive/of/a/museum/with/many/folders/holiday-0042.jpg"
    assert path in printed(path, 120)
    narrow = printed(path, 44)
    assert "holiday-0042.jpg" in narrow
    assert "…" in narrow
    assert "/archive" not in narrow
    assert "happiness" in narrow
    assert len(narrow.splitlines()) == 5, "one line for the row"


def test_wide_characters_fit() -> None:
    lines = printed("/写真/" * 20 + "顔.jpg", 40).splitlines()
    assert "顔.jpg" in lines[3]


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def bar(clock: list[float]) -> Progress:
    return Progress(console=Console(file=io.StringIO()), get_time=lambda: clock[0], auto_refresh=False)


def rate_of(bar: Progress) -> str:
    return RateColumn().render(bar.tasks[0]).plain


def test_rate_of_a_resumed_run_counts_its_own_steps(bar: Progress, clock: list[float]) -> None:
    task = bar.add_task("training", total=None, note="")
    for step in range(401, 411):  # resumed after step 400
        clock[0] += 2.0
        show_step(bar, task, completed=step, total=500)
    assert rate_of(bar) == "2.0 s each"


def test_rate_of_a_new_epoch_counts_no_validation(bar: Progress, clock: list[float]) -> None:
    task = bar.add_task("training", total=None, note="")
    for pause_s in (1.0, 0.25):  # the second epoch is faster
        for step in range(1, 6):
            clock[0] += pause_s
            show_step(bar, task, completed=step, total=5)
        assert rate_of(bar) == ("1/s" if pause_s == 1.0 else "4.0/s").replace("1/s", "1.0/s")
        clock[0] += 25.0  # validation
