"""The terminal: messages and progress go to standard error, results to standard output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

console = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False)


class RateColumn(ProgressColumn):
    """How many a second, or how long each takes where that is more than a second."""

    def render(self, task: Task) -> Text:
        """The rate of a task; nothing before there is one."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.{0 if speed >= 10 else 1}f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


def progress_bar() -> Progress:
    """A bar with count, rate, remaining time and a note at its end (the task's field ``note``)."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


@contextmanager
def staged_bar(first: str) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """A bar for work in stages: what is to be told the name of each as it begins, and its progress.

    Args:
        first: the name of the first stage.
    """
    with progress_bar() as bar:
        task = bar.add_task(first, total=None, note="")

        def on_stage(name: str) -> None:
            if bar.tasks[task].description != name:
                bar.reset(task, total=None, description=name)

        yield on_stage, lambda done, total: bar.update(task, completed=done, total=total)
