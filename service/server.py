"""``mien serve``: the service on uvicorn."""

import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from mien.model.errors import ConfigError
from mien.service.app import create_app_on
from mien.service.commands.terminal import console
from mien.service.inference.engine import load_engine
from mien.service.inference.runtime import Runtime
from mien.service.middleware.auth import is_loopback
from mien.service.middleware.origins import Hosts
from mien.service.operation import logs
from mien.service.operation.connections import ConnectionLimits, Connections
from mien.service.operation.logs import FIELDS
from mien.service.operation.metrics import Metrics
from mien.service.operation.protocols import limited_protocols
from mien.service.operation.supervisor import address_of, serve_in_processes
from mien.service.operation.traces import otlp_provider, trace_requests
from mien.service.settings import Settings

_log = logging.getLogger("mien.server")

SWITCH_S: Final = 0.0005
"""How long a thread keeps the interpreter lock while another waits for it.

With Python's default of 5 ms, which is as long as a batch takes, the event loop waits for batches to end: at 70 % of
the highest rate of crops p99 was 61 ms in place of 21 ms, and at 200 % only 85 % of that rate was answered; an answer
took 0.07 ms less (docs/load.md)."""


FILES_BESIDES_CONNECTIONS: Final = 256
"""Files and sockets of a process that are no connections: libraries, the gallery, worker processes."""


def serve(settings: Settings) -> int:
    """Load the bundle, and serve until a signal to stop.

    Raises:
        ArtifactError: the bundle or the detector cannot be used.
        ConfigError: the provider is not installed, the key file cannot be used, the port is in use, or other machines
            could call the service without keys.
    """
    if settings.keys is None and not settings.allow_public and not is_loopback(reachable_host(settings)):
        raise ConfigError(
            f"{settings.published or settings.host} is open to other machines, and no keys are set: expected --keys "
            "(mien keys create makes one), or --allow-public to serve without keys"
        )
    check_port(settings.host, settings.port)
    if settings.processes > 1:
        return serve_in_processes(settings, _serve_one)
    _serve_one(settings, None)
    return 0


def _serve_one(settings: Settings, listening: socket.socket | None) -> None:
    """Serve in this process, on a socket that already listens, or on the host and port of the settings."""
    sys.setswitchinterval(SWITCH_S)
    logs.configure(settings.log_level)
    # uvicorn raises the signal again once it has stopped. By default that would end the process before the gallery is
    # closed; SystemExit passes through ``finally``, also while the bundle is being loaded.
    signal.signal(signal.SIGTERM, _exit)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # until there is something to reload
    engine = load_engine(settings)
    runtime = Runtime(engine, settings)
    app: ASGIApp = create_app_on(runtime, allowed_hosts(settings))
    provider = otlp_provider(os.environ)
    if provider is not None:
        app = trace_requests(app, runtime.metrics, provider)
    config = uvicorn_config(app, settings, runtime.metrics)
    # What is loaded stays: the garbage collector does not look through it again and again while requests are answered.
    gc.collect()
    gc.freeze()
    try:
        _Server(config, runtime).run(sockets=None if listening is None else [listening])
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not end it before the gallery is closed
        runtime.engine.gallery.close()


def _exit(*_: object) -> None:
    sys.exit(0)


def reachable_host(settings: Settings) -> str:
    """The address at which the service can be reached: that of the published port of a container, or the host."""
    if settings.published is None:
        return settings.host
    return settings.published.rpartition(":")[0].strip("[]")  # a port alone is published on all addresses


def allowed_hosts(settings: Settings) -> Hosts | None:
    """The hosts that requests may be for; None for all, where keys are needed and no host is named."""
    if settings.keys is not None and not settings.named_hosts:
        return None
    own = () if settings.host in ("0.0.0.0", "::") else (settings.host,)  # noqa: S104  the rule for these is below
    return Hosts((*settings.named_hosts, *own), addresses=not is_loopback(settings.host))


def check_port(host: str, port: int) -> None:
    """Check that a port can be listened on, before the bundle is loaded.

    Raises:
        ConfigError: it is in use, needs other rights, or the host is not of this machine.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there: stop it, or take another with --port (0 takes a free one)"
        elif error.errno == errno.EACCES:
            reason = "ports below 1024 need the rights of root: take another with --port"
        else:
            reason = f"{error.strerror or error}: --host must be an address of this machine"
        raise ConfigError(f"cannot listen on port {port} of {host}: {reason}") from None


def announce(runtime: Runtime, port: int, *, show: bool) -> None:
    """Say where what is served: in a terminal as one line for a person, else in the log.

    Args:
        runtime: that answers.
        port: that is listened on.
        show: whether to say it in a terminal; several processes do not say it one after the other.
    """
    settings, faces = runtime.settings, runtime.engine.gallery.count()
    address = address_of(settings.host, port)
    if not sys.stderr.isatty():
        fields = {"address": address, "bundle": str(settings.bundle), "gallery": settings.gallery, "faces": faces}
        _log.info("serving", extra={FIELDS: fields})
    elif show:
        gallery = "the faces that ship with it" if settings.gallery is None else f"the gallery {settings.gallery}"
        console.print(f"mien serves {address} with {settings.bundle} and {gallery} ({faces:,}); Ctrl+C stops it")


def possible_connections(wanted: int) -> int:
    """How many connections the system lets this process have, after its limit of open files was raised for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + FILES_BESIDES_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(wanted, soft - FILES_BESIDES_CONNECTIONS))
    return wanted


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The limits of the connections of a process."""
    return ConnectionLimits(
        connections=possible_connections(settings.max_connections),
        per_address=settings.max_connections_per_address,
        head_s=settings.timeout_s,
        send_s=settings.send_timeout_s,
        unread_bytes=settings.queue_answer_bytes,
        frames_per_s=max(64.0, 2 * settings.stream_fps),
        proxies=settings.trusted_proxies,
    )


def uvicorn_config(app: ASGIApp, settings: Settings, metrics: Metrics) -> uvicorn.Config:
    """The configuration of uvicorn."""
    http, websocket = limited_protocols(Connections(connection_limits(settings), metrics))
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=http,
        ws=websocket,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        ws_max_size=settings.max_stream_frame_bytes,
        ws_per_message_deflate=False,  # images are compressed, and messages that grow when decompressed are refused
        timeout_graceful_shutdown=int(settings.timeout_s) + 1,
    )


class _Server(uvicorn.Server):
    """A uvicorn server that drains: after the signal to stop it answers 503 for a while, then it stops listening.

    In this time a load balancer learns, from readiness or from the answers, to send requests elsewhere. A second signal
    ends the wait.
    """

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, say where, and reload at each SIGHUP."""
        await self._runtime.readers.start()
        await super().startup(sockets)
        self._runtime.reload_on_hangup()
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            announce(self._runtime, port, show=sockets is None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain; stop at once at a second signal."""
        self._runtime.drain()
        if self._draining or self._runtime.settings.drain_s == 0:
            super().handle_exit(sig, frame)
            return
        self._draining = True
        self._captured_signals.append(sig)
        loop = asyncio.get_event_loop()
        loop.call_soon_threadsafe(loop.call_later, self._runtime.settings.drain_s, self._stop_listening)

    def _stop_listening(self) -> None:
        self.should_exit = True
