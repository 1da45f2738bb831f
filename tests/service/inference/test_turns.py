import asyncio
import contextvars

from mien.service.inference.admission import CALLER
from mien.service.inference.turns import Turns


def run_jobs(turns: Turns, callers: str) -> list[str]:
    """The order in which the jobs of callers begin, one letter each, which come in this order."""
    order: list[str] = []

    async def job(caller: str) -> None:
        CALLER.set(caller)
        async with turns.turn():
            order.append(caller)
            await asyncio.sleep(0)

    async def run_all() -> None:
        await asyncio.gather(*map(job, callers))

    asyncio.run(run_all())
    return order


def test_callers_get_places_in_turn() -> None:
    assert "".join(run_jobs(Turns(1), "aaaaabbc")) == "aabcabaa"


def test_one_caller_gets_all_places_in_order() -> None:
    assert run_jobs(Turns(3), "aaaaaaaa") == ["a"] * 8


def test_place_is_kept_for_others() -> None:
    order: list[str] = []

    async def run() -> None:
        turns = Turns(3, 2)
        CALLER.set("a")
        places = [await turns.take() for _ in range(2)]
        waiting = asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        CALLER.set("b")
        order.append(await asyncio.wait_for(turns.take(), 1))
        turns.give_back(places[0])
        order.append(await asyncio.wait_for(waiting, 1))

    asyncio.run(run())
    assert order == ["b", "a"]


def test_who_gives_up_takes_no_place() -> None:
    async def run() -> None:
        turns = Turns(1)
        first = await turns.take()
        waiting = [asyncio.create_task(turns.take()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        turns.give_back(first)  # gives the place to the second, which is cancelled before it knows
        waiting[1].cancel()
        assert await asyncio.wait_for(waiting[2], 1) == ""

    contextvars.Context().run(asyncio.run, run())  # no caller is named
