"""An open-loop load generator: requests at a fixed rate, whether or not earlier ones were answered.

A latency counts from the moment at which a request was due, so that time in queues shows. Arrivals are Poisson. Without
a rate, connections that are always busy find the highest rate. The generator runs in a separate process
(``drive``), on uvloop, with as little Python as possible, because it shares the cores with the server.
"""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import uvloop

CONNECTIONS: Final = 32
"""Connections of the closed loop that finds the highest rate, unless fewer are asked for."""

HOST: Final = "127.0.0.1"


def drive(
    port: int, requests: list[bytes], rate: float | None, seconds: float, connections: int = CONNECTIONS
) -> dict[str, Any]:
    """Send ``requests`` in turn from a separate process.

    Args:
        port: of the server on this machine.
        requests: whole HTTP requests.
        rate: per second; None keeps connections busy.
        seconds: how long new requests are sent.
        connections: how many are kept busy.

    Returns:
        ``answers_per_s`` (200s), ``statuses``, ``ms`` and ``refused_ms`` (p50, p90, p99), ``cpu_ms`` of the generator
        for each answer of any kind.
    """
    given = {"port": port, "rate": rate, "seconds": seconds, "connections": connections}
    job = json.dumps({**given, "requests": [each.hex() for each in requests]})
    done = subprocess.run(  # noqa: S603
        [sys.executable, __file__], input=job, stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def status_of(port: int, request: bytes) -> int:
    """The status of the answer to one request.

    Raises:
        OSError: no server listens.
        TimeoutError: no answer came within 5 s.
    """
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, HOST, port)
    try:
        return (await asyncio.wait_for(connection.ask(request), 5))[0]
    finally:
        connection.transport.close()


async def answers_to(port: int, requests: Sequence[bytes], connections: int) -> list[tuple[int, bytes]]:
    """Status and body of the answer to each request, of which as many are sent at once as there are connections."""
    answers: list[tuple[int, bytes]] = [(0, b"")] * len(requests)
    waiting = iter(enumerate(requests))

    async def busy() -> None:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, HOST, port)
        for number, request in waiting:
            answers[number] = await connection.ask(request)
        connection.transport.close()

    await asyncio.gather(*(busy() for _ in range(connections)))
    return answers


@dataclass
class _Outcome:
    """Latencies and statuses of the answers."""

    latencies: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class _Connection(asyncio.Protocol):
    """One request at a time; resolves to the status and body of its answer, 0 if the connection is lost."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._came = b""

    def connection_made(self, transport: Any) -> None:  # uvloop's is not an asyncio.Transport
        self.transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if b"chunked" in head.lower():
            end = end if body.endswith(b"\r\n0\r\n\r\n") else b""
        if end and len(body) >= int(length or b"0") and self.waiting is not None:
            status, waiting = int(head[9:12]), self.waiting
            self._came, self.waiting = b"", None
            if not waiting.done():
                waiting.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result((0, b""))

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.waiting


async def _drive(
    port: int, rate: float | None, seconds: float, connections: int, requests: list[bytes]
) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    outcome, idle, tasks = _Outcome(), list[_Connection](), set[asyncio.Task[None]]()

    async def one(request: bytes, due: float) -> None:
        while idle and idle[-1].transport.is_closing():
            idle.pop()  # the server closes connections that were idle for some seconds
        connection = idle.pop() if idle else (await loop.create_connection(_Connection, HOST, port))[1]
        status, _ = await connection.ask(request)
        (outcome.latencies if status == 200 else outcome.refused).append(loop.time() - due)
        outcome.statuses[str(status)] += 1
        if status and not connection.transport.is_closing():
            idle.append(connection)

    began = loop.time()
    end = began + seconds
    if rate is None:

        async def busy(number: int) -> None:
            while loop.time() < end:
                number += connections
                await one(requests[number % len(requests)], loop.time())

        await asyncio.gather(*(busy(number) for number in range(connections)))
    else:
        chance = random.Random(0)  # noqa: S311
        due, number = began, 0
        while due < end:
            due += chance.expovariate(rate)
            number += 1
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            task = asyncio.create_task(one(requests[number % len(requests)], due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return {
        "rate": rate,
        "answers_per_s": len(outcome.latencies) / (loop.time() - began),
        "statuses": dict(outcome.statuses),
        "ms": _percentiles(outcome.latencies),
        "refused_ms": _percentiles(outcome.refused),
        "cpu_ms": time.process_time() * 1000 / max(1, outcome.statuses.total()),
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    parts = statistics.quantiles(seconds, n=1000, method="inclusive")
    return {f"p{name}": round(parts[at - 1] * 1000, 2) for name, at in (("50", 500), ("90", 900), ("99", 990))}


if __name__ == "__main__":
    job = json.loads(sys.stdin.read())
    job["requests"] = [bytes.fromhex(request) for request in job["requests"]]
    sys.stdout.write(json.dumps(uvloop.run(_drive(**job))))
