"""Progress of work on many images: a bar, a function that is called, or neither."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from typing import Any

from mien.service.answers.options import OnProgress


@contextmanager
def count_progress(
    items: Iterable[Any], on_progress: OnProgress | None, *, draw: bool, name: str = "images"
) -> Iterator[Callable[[int], None]]:
    """Count items that are done.

    Args:
        items: their number is the total, if it is known.
        on_progress: called with the count and the total.
        draw: draw a bar on standard error.
        name: what is counted, beside the bar.

    Yields:
        A function to call with the number of further items that are done.
    """
    total = len(items) if isinstance(items, Sized) else None
    done = 0
    with ExitStack() as stack:
        bar = None
        if draw:
            from mien.service.commands.terminal import progress_bar  # rich is imported only for a bar

            bar = stack.enter_context(progress_bar())
            bar.add_task(name, total=total, note="")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)
            if on_progress is not None:
                on_progress(done, total)

        yield advance
