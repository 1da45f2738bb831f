"""``mien serve``: the service on uvicorn."""

import asyncio
import os
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
from mien.service.operation import logs
from mien.service.operation.header_timeout import timed_protocol
from mien.service.operation.supervisor import serve_in_processes
from mien.service.operation.traces import configured_provider, traced
from mien.service.settings import Settings

SWITCH_S: Final = 0.0005
"""How long a thread keeps Python to itself while another wants it.

With Python's own 5 ms, as long as a batch takes, the event loop waits for batches to end: at 70 % of the highest rate
of crops p99 was 61 ms in place of 21, and at 200 % 0.85 of that rate was answered in place of all of it; an answer took
0.07 ms less (docs/load.md)."""


def serve(settings: Settings) -> int:
    """Load the bundle, then serve until told to stop.

    Raises:
        ArtifactError: the bundle or the detector cannot be used; nothing has been served.
        ConfigError: the provider is not installed, the key file cannot be used, or other machines would be served
            without keys.
    """
    if settings.keys is None and not settings.allow_public and not is_loopback(settings.host):
        raise ConfigError(
            f"{settings.host} is open to other machines, and no keys are set: expected --keys (mien keys create makes "
            "one), or --allow-public to serve everybody"
        )
    if settings.processes > 1:
        return serve_in_processes(settings, _serve_one)
    _serve_one(settings, None)
    return 0


def _serve_one(settings: Settings, listening: socket.socket | None) -> None:
    """Serve in this process, on a socket that listens already or on one of its own."""
    sys.setswitchinterval(SWITCH_S)
    logs.configure(settings.log_level)
    engine = load_engine(settings)
    runtime = Runtime(engine, settings)
    app: ASGIApp = create_app_on(runtime)
    provider = configured_provider(os.environ)
    if provider is not None:
        app = traced(app, runtime.metrics, provider)
    config = configured(app, settings)
    if listening is None:
        console.print(f"mien serves {settings.bundle} with {engine.gallery.count()} faces", markup=False)
    try:
        _Server(config, runtime).run(sockets=None if listening is None else [listening])
    finally:
        runtime.engine.gallery.close()


def configured(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=timed_protocol(settings.timeout_s),
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=settings.max_stream_frame_bytes,
        ws_per_message_deflate=False,  # pictures are compressed, and what grows when it is unpacked stays out
        timeout_graceful_shutdown=int(settings.timeout_s) + 1,
    )


class _Server(uvicorn.Server):
    """uvicorn, but for how it stops: first it answers new requests with 503 for a while, then it stops listening.

    Whoever sends requests here learns in this time, from readiness or from the answers, to send them elsewhere. A
    second signal ends the wait.
    """

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._told = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and reload at SIGHUP."""
        await super().startup(sockets)
        self._runtime.reload_on_hangup()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, or stop at once."""
        self._runtime.drain()
        if self._told or self._runtime.settings.drain_s == 0:
            super().handle_exit(sig, frame)
            return
        self._told = True
        self._captured_signals.append(sig)
        loop = asyncio.get_event_loop()
        loop.call_soon_threadsafe(loop.call_later, self._runtime.settings.drain_s, self._end)

    def _end(self) -> None:
        self.should_exit = True
