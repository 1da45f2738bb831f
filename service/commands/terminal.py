"""The terminal: messages and progress go to standard error, results to standard output."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_MIN_PATH_CELLS: Final = 16

console: Final = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
"""Standard error."""

output: Final = Console(highlight=False)
"""Standard output, for tables."""


def write(text: str) -> None:
    """Write text for other programs to standard output: without colours and without line breaks of the terminal."""
    output.print(text, markup=False, soft_wrap=True)


def write_json(value: Any) -> None:
    """Write a value as JSON."""
    write(json.dumps(value, indent=1))


def write_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as CSV with a heading."""
    text = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write(text.getvalue().rstrip("\n"))


class LeftEllipsis:
    """Text of one line, such as a path, whose end matters: where it is too long for its column, its beginning goes."""

    def __init__(self, text: str) -> None:
        """Show ``text``."""
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The text, or an ellipsis and its end."""
        text = self.text
        if cell_len(text) > options.max_width:
            while text and cell_len(text) >= options.max_width:
                text = text[1:]
            text = f"…{text}"
        yield Text(text, no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """The whole text if there is room, at least a file's name of usual length."""
        width = cell_len(self.text)
        return Measurement(min(width, _MIN_PATH_CELLS), width)


class RateColumn(ProgressColumn):
    """The rate of a task: items per second, or seconds per item where one takes longer than a second."""

    def render(self, task: Task) -> Text:
        """The rate; empty before the first item."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.{0 if speed >= 10 else 1}f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


def progress_bar() -> Progress:
    """A bar with count, rate, remaining time and a note at its end (the task's field ``note``)."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )


def show_step(bar: Progress, task: TaskID, *, completed: int, total: int, **fields: Any) -> None:
    """Show that one more step is done.

    Where the count jumps, at a new epoch or in a run that is resumed, the rate starts again: it counts neither steps
    that were done before nor the time of a validation between.

    Args:
        bar: has the task.
        task: whose steps are counted.
        completed: steps that are done.
        total: all steps.
        **fields: further fields of the task, such as its description.
    """
    shown = next(each for each in bar.tasks if each.id == task)
    if completed == shown.completed + 1:
        bar.update(task, completed=completed, total=total, **fields)
    else:
        bar.reset(task, completed=completed, total=total, **fields)


@contextmanager
def staged_bar(first: str) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """A bar for work in one or several stages.

    Args:
        first: the name of the first stage.

    Yields:
        A function to call with the name of each further stage, and one to call with how many items of the stage are
        done and of how many.
    """
    with progress_bar() as bar:
        task = bar.add_task(first, total=None, note="")

        def on_stage(name: str) -> None:
            if bar.tasks[task].description != name:
                bar.reset(task, total=None, description=name)

        yield on_stage, lambda done, total: bar.update(task, completed=done, total=total)
