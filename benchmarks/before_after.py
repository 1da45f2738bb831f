"""CPU time of an answer before and after a change: two checkouts of the project are served and asked in turns.

    python benchmarks/before_after.py ../mien-before . PHOTOGRAPH... [--kinds crops group] [--waits SECONDS]

For each kind of request it prints the CPU time of the server, with the processes that it starts, for an answer of each
checkout (median over the rounds), their ratio within a round (median, least and most), and how many answers differ. As
both are asked in turns and CPU time is counted, not time, the ratio holds on a machine that does other things, too.

With ``--waits``, on an idle machine: each is started alone, in turns, for its readiness and memory, then asked for so
many seconds at 70 % of the highest rate of the one before, for the latencies.
"""

import argparse
import asyncio
import signal
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from generator import CONNECTIONS, answers_to, drive
from payloads import CLASSIFY_CROP, Photographs, requests_of, requests_of_several
from served import Served, mien

KINDS: Final[dict[str, Callable[[Photographs], list[bytes]]]] = {
    "crops": lambda photographs: requests_of(CLASSIFY_CROP, photographs.crops()),
    "8 crops": lambda photographs: requests_of_several(CLASSIFY_CROP, photographs.crops(), 8),
    "32 crops": lambda photographs: requests_of_several(CLASSIFY_CROP, photographs.crops(), 32),
    "640x480": lambda photographs: requests_of("/classify", photographs.small()),
    "1350x1350": lambda photographs: requests_of("/classify", photographs.portraits()),
    "12 MP": lambda photographs: requests_of("/classify", photographs.large()),
    "group": lambda photographs: requests_of("/classify", [photographs.group()]),
}
"""The requests of each kind."""

MIN_CPU_S: Final = 0.5
"""CPU time of a server in a round, at least: the system counts it in hundredths of a second."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path, help="Checkout of the project before the change.")
    parser.add_argument("after", type=Path, help="Checkout after it.")
    parser.add_argument("photographs", type=Path, nargs="+", help="Photographs of one face each.")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="Kinds of requests.")
    parser.add_argument("--rounds", type=int, default=5, help="How often each checkout is asked.")
    parser.add_argument("--connections", type=int, default=2, help="Requests that are sent at once.")
    parser.add_argument(
        "--option", action="append", default=[], help="Option of both servers, such as --option=--processes=2."
    )
    parser.add_argument(
        "--waits", type=float, metavar="SECONDS", help="Readiness, memory and latencies in place of CPU time."
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers are stopped, too
    photographs = Photographs(arguments.photographs)
    options = ["--max-images=32", "--queue-images=256", *arguments.option]
    if arguments.waits is not None:
        print_waits(photographs, options, arguments)
        return
    sys.stdout.write("| CPU ms per answer | before | after | after to before | answers that differ |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    with mien(options, arguments.before) as before, mien(options, arguments.after) as after:
        for kind in arguments.kinds:
            requests = KINDS[kind](photographs)
            sys.stdout.write(f"| {kind} | {compare(before, after, requests, arguments)} |\n")
            sys.stdout.flush()


def compare(before: Served, after: Served, requests: list[bytes], arguments: argparse.Namespace) -> str:
    """The cells of a row."""
    connections: int = arguments.connections
    answers = [asyncio.run(answers_to(server.port, requests, connections)) for server in (before, after)]
    unanswered = [status for each in answers for status, _ in each if status != 200]
    if unanswered:
        return f"not answered: {sorted(set(unanswered))} | | |"
    cpu_s = [_cpu_s(server, requests, connections) for server in (before, after)]
    times = max(1, round(MIN_CPU_S / min(cpu_s)))
    rounds = [
        [_cpu_s(server, requests * times, connections) * 1000 / (len(requests) * times) for server in (before, after)]
        for _ in range(arguments.rounds)
    ]
    (old, new), ratios = zip(*rounds, strict=True), [after_ms / before_ms for before_ms, after_ms in rounds]
    differing = sum(one != other for one, other in zip(*answers, strict=True))
    return (
        f"{statistics.median(old):.2f} | {statistics.median(new):.2f} | "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {differing} of {len(requests)}"
    )


def print_waits(photographs: Photographs, options: list[str], arguments: argparse.Namespace) -> None:
    """A row for each kind of request and figure: medians over the rounds, and their ratio."""
    sys.stdout.write("| medians | before | after | after to before |\n|---|---|---|---|\n")
    for kind in arguments.kinds:
        requests, rate = KINDS[kind](photographs), None
        found: dict[str, dict[Path, list[float]]] = {}
        for _ in range(arguments.rounds):
            for checkout in (arguments.before, arguments.after):
                with mien(options, checkout) as server:
                    figures = {"ready, s": server.ready_s, "memory at rest, MB": server.resident_mb()}
                    highest = drive(server.port, requests, None, arguments.waits, CONNECTIONS)["answers_per_s"]
                    rate = rate or 0.7 * highest
                    waits = drive(server.port, requests, rate, arguments.waits)["ms"]
                    figures |= {f"{name} at {rate:.0f}/s, ms": wait for name, wait in waits.items() if name != "p90"}
                    figures |= {"highest rate, /s": highest, "memory afterwards, MB": server.resident_mb()}
                for name, figure in figures.items():
                    found.setdefault(name, {}).setdefault(checkout, []).append(figure)
        for name, each in found.items():
            old, new = (statistics.median(each[checkout]) for checkout in (arguments.before, arguments.after))
            sys.stdout.write(f"| {kind}: {name} | {old:.3g} | {new:.3g} | {new / old:.2f} |\n")
            sys.stdout.flush()


def _cpu_s(server: Served, requests: list[bytes], connections: int) -> float:
    """CPU time of the answers to some requests; at least what the system counts."""
    began = server.cpu_s()
    asyncio.run(answers_to(server.port, requests, connections))
    return max(0.01, server.cpu_s() - began)


if __name__ == "__main__":
    main()
