"""Traces for OpenTelemetry, if one of its variables configures an exporter (``OTEL_EXPORTER_OTLP_ENDPOINT``).

A request is a span, and each stage of its answer is a span in it. A batch belongs to several requests; its spans are in
that of the request that completed it.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Final

from starlette.types import ASGIApp

from mien.model.errors import ConfigError
from mien.service.operation.metrics import Metrics

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Variables of OpenTelemetry; either one switches traces on."""


def otlp_provider(environment: Mapping[str, str]) -> Any | None:
    """A provider of tracers that exports over OTLP, or None where no exporter is configured.

    Raises:
        ConfigError: one is configured, and the extra ``otel`` is not installed.
    """
    variable = next((name for name in ENDPOINTS if environment.get(name)), None)
    if variable is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError(f"{variable} is set, but traces need the extra 'otel': pip install 'mien[otel]'") from None
    resource = Resource.create({"service.name": environment.get("OTEL_SERVICE_NAME", "mien")})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def trace_requests(app: ASGIApp, metrics: Metrics, provider: Any) -> ASGIApp:
    """The app with a span around each request, and in it one for each stage.

    The span of a request has its method, path and status; no query, body or address.
    """
    from opentelemetry import propagate, trace

    tracer = provider.get_tracer("mien", version("mien"))

    def span(stage: str) -> AbstractContextManager[Any]:
        current: AbstractContextManager[Any] = tracer.start_as_current_span(stage)
        return current

    def past_span(stage: str, began_ns: int, ended_ns: int) -> None:
        tracer.start_span(stage, start_time=began_ns).end(ended_ns)

    metrics.span, metrics.past_span = span, past_span

    async def request(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with tracer.start_as_current_span(
            scope["method"], context=propagate.extract(carrier), kind=trace.SpanKind.SERVER
        ) as span:

            async def send_and_note(message: Any) -> None:
                if message["type"] == "http.response.start":
                    route = getattr(scope.get("route"), "path", "none")
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            span.set_attribute("http.request.method", scope["method"])
            await app(scope, receive, send_and_note)

    return request
