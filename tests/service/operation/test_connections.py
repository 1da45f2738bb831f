"""Who makes room for another connection, and whose answer is cut off."""

import asyncio
from typing import Any

from mien.service.operation.connections import ConnectionLimits, Connections
from mien.service.operation.metrics import Metrics


class FakeTransport:
    """A transport with so many bytes that were not sent."""

    def __init__(self) -> None:
        self.unread = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.is_aborted = True


class FakeConnection:
    def __init__(self) -> None:
        self.transport: Any = FakeTransport()


def connected(connections: Connections, address: str = "192.0.2.1") -> FakeConnection:
    made = FakeConnection()
    assert connections.add(made, address)
    return made


def test_counts_end_with_the_connection() -> None:
    connections = Connections(ConnectionLimits(), Metrics())
    for _ in range(3):
        one, other = connected(connections), FakeConnection()
        connections.answers(one)
        connections.waits(one)
        connections.replace(one, other)
        assert len(connections) == 1
        connections.remove(one)
        connections.remove(other)
        connections.remove(other)
        assert len(connections) == 0


def test_oldest_that_waits_makes_room() -> None:
    connections = Connections(ConnectionLimits(per_address=3), Metrics())
    first, second, third = (connected(connections) for _ in range(3))
    connections.answers(first)
    connections.answers(second)
    connections.waits(second)  # later than the third
    connected(connections)
    assert [each.transport.is_aborted for each in (first, second, third)] == [False, False, True]
    connected(connections)
    assert second.transport.is_aborted
    assert not first.transport.is_aborted


def test_address_with_most_connections_makes_room_for_others() -> None:
    connections = Connections(ConnectionLimits(connections=4), Metrics())
    quiet = connected(connections, "192.0.2.2")
    many = [connected(connections) for _ in range(3)]
    last = connected(connections, "192.0.2.3")
    assert not quiet.transport.is_aborted
    assert [each.transport.is_aborted for each in many] == [True, False, False]
    for each in (quiet, *many[1:], last):
        connections.answers(each)
    assert not connections.add(FakeConnection(), "192.0.2.4"), "all are being answered"
    connections.waits(last)
    connected(connections, "192.0.2.4")
    assert last.transport.is_aborted


def test_slowest_is_cut_off_where_answers_are_too_large_together() -> None:
    async def run() -> list[bool]:
        connections = Connections(ConnectionLimits(unread_bytes=100), Metrics())
        slow, fast, newest = (connected(connections) for _ in range(3))
        for each, unread in ((slow, 40), (fast, 60)):
            each.transport.unread = unread
            connections.watch(each)
        await asyncio.sleep(0.05)
        fast.transport.unread = 50
        slow.transport.unread = 39
        newest.transport.unread = 50
        connections.watch(newest)
        return [each.transport.is_aborted for each in (slow, fast, newest)]

    assert asyncio.run(run()) == [True, False, False]
