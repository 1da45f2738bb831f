"""The connections of a process: how many there are, and how much of their answers clients have not read yet.

Where there is no room for another connection, the one that has waited longest for its client makes room: for a
request, or for the rest of one. Those whose request is being answered are never closed for that.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final, Protocol

from mien.service.operation.metrics import Metrics

PROGRESS_BYTES: Final = 64 * 1024
"""What a client must read of its answers while one is waiting, in each span of ``ConnectionLimits.send_s``."""

SEND_WHEN_STOPPING_S: Final = 1.0
"""The same span after the signal to stop."""

CHECK_EVERY_S: Final = 0.25


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of a process.

    Attributes:
        connections: at once.
        per_address: at once from one address, proxies that are trusted excepted.
        head_s: how long the head of a request may take, seconds.
        send_s: a client that takes less than ``PROGRESS_BYTES`` of its answers in so long is cut off, seconds.
        unread_bytes: of answers that clients have not taken, all together.
        frames_per_s: frames of one WebSocket, as ``mien.service.operation.protocols`` counts them.
        proxies: addresses and networks of trusted proxies, or ``*``.
    """

    connections: int = 1024
    per_address: int = 256
    head_s: float = 30.0
    send_s: float = 10.0
    unread_bytes: int = 256 * 2**20
    frames_per_s: float = 64.0
    proxies: Sequence[str] = ()


class Connection(Protocol):
    """A connection, HTTP or WebSocket."""

    transport: asyncio.Transport


@dataclass
class _Caller:
    """The connections of an address: their number, and those that wait for the client, in the order since when."""

    count: int = 0
    waiting: dict[Connection, None] = field(default_factory=dict)


@dataclass
class _Unread:
    """An answer that its client has not taken: when and at how many bytes it began, and at the last progress."""

    began_s: float
    began_bytes: int
    since_s: float
    since_bytes: int

    def rate(self, left: int, now: float) -> float:
        """Bytes per second that the client has taken."""
        return (self.began_bytes - left) / (now - self.began_s) if now > self.began_s else float("inf")


class Connections:
    """The connections of one process. Belongs to one event loop."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self._metrics = metrics
        self._callers: dict[str, _Caller] = {}
        self._address: dict[Connection, str] = {}
        self._unread: dict[Connection, _Unread] = {}
        self._check: asyncio.TimerHandle | None = None
        self._stopping = False
        self._trusted = [ip_network(each) for each in limits.proxies if each != "*"]
        self._trusts_all = "*" in limits.proxies

    def __len__(self) -> int:
        return len(self._address)

    def add(self, connection: Connection, address: str) -> bool:
        """Count a connection; False if there is no room, as all others are being answered."""
        caller = self._callers.get(address) or _Caller()
        has_room = caller.count < self.limits.per_address or self._is_proxy(address) or self._close_oldest(caller)
        if has_room and len(self._address) >= self.limits.connections:
            has_room = any(
                self._close_oldest(each) for each in sorted(self._callers.values(), key=lambda each: -each.count)
            )
        if not has_room:
            self.note("too many")
            return False
        self._callers[address] = caller
        caller.count += 1
        caller.waiting[connection] = None
        self._address[connection] = address
        self._metrics.connections_open.set(len(self._address))
        return True

    def remove(self, connection: Connection) -> None:
        """Count a connection no longer."""
        self._unread.pop(connection, None)
        address = self._address.pop(connection, None)
        if address is None:
            return
        caller = self._callers[address]
        caller.waiting.pop(connection, None)
        caller.count -= 1
        if caller.count == 0:
            del self._callers[address]
        self._metrics.connections_open.set(len(self._address))

    def replace(self, connection: Connection, successor: Connection) -> None:
        """Count the WebSocket that a connection has become in its place; it never makes room for others."""
        address = self._address.get(connection)
        self.remove(connection)
        if address is not None:
            self._callers.setdefault(address, _Caller()).count += 1
            self._address[successor] = address

    def answers(self, connection: Connection) -> None:
        """A request has come as a whole: the connection is closed for no other."""
        if connection in self._address:
            self._callers[self._address[connection]].waiting.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """The connection waits for its client again, from now on."""
        if connection in self._address:
            self._callers[self._address[connection]].waiting[connection] = None

    def watch(self, connection: Connection) -> None:
        """Watch that the client takes what was sent; clients that take least are cut off if it is too much in all."""
        now, left = asyncio.get_running_loop().time(), connection.transport.get_write_buffer_size()
        self._unread.setdefault(connection, _Unread(now, left, now, left))
        self._keep_within_budget(now)
        if self._check is None:
            self._check = asyncio.get_running_loop().call_later(CHECK_EVERY_S, self._check_progress)

    def stop(self) -> None:
        """From now on, clients get little time to take their answers."""
        self._stopping = True

    def note(self, reason: str) -> None:
        """Count a connection that is refused or cut off."""
        self._metrics.connections_closed.labels(reason).inc()

    def _is_proxy(self, address: str) -> bool:
        if self._trusts_all or not self._trusted:
            return self._trusts_all
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)

    def _close_oldest(self, caller: _Caller) -> bool:
        """Close the connection of a caller that has waited longest; False if none waits."""
        oldest = next(iter(caller.waiting), None)
        if oldest is None:
            return False
        self._abort(oldest, "made room")
        return True

    def _abort(self, connection: Connection, reason: str) -> None:
        self.note(reason)
        self.remove(connection)
        connection.transport.abort()

    def _keep_within_budget(self, now: float) -> None:
        left = {each: each.transport.get_write_buffer_size() for each in self._unread}
        while len(left) > 1 and sum(left.values()) > self.limits.unread_bytes:
            slowest = min(left, key=lambda each: self._unread[each].rate(left[each], now))
            del left[slowest]
            self._abort(slowest, "unread")

    def _check_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        longest_s = min(self.limits.send_s, SEND_WHEN_STOPPING_S) if self._stopping else self.limits.send_s
        for connection, unread in list(self._unread.items()):
            left = connection.transport.get_write_buffer_size()
            if left == 0:
                del self._unread[connection]
            elif left > unread.since_bytes or unread.since_bytes - left >= PROGRESS_BYTES:
                unread.since_s, unread.since_bytes = now, left
            elif now - unread.since_s >= longest_s:
                self._abort(connection, "unread")
        more = bool(self._unread)
        self._check = asyncio.get_running_loop().call_later(CHECK_EVERY_S, self._check_progress) if more else None
