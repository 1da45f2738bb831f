import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mien.service.app import create_app_on
from mien.service.inference.engine import Engine
from mien.service.inference.runtime import Runtime
from mien.service.operation.traces import ENDPOINTS, otlp_provider, trace_requests
from mien.service.settings import Settings


def test_request_and_its_stages_are_spans(served_engine: Engine, crop_file: bytes) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    runtime = Runtime(Engine(served_engine.bundle, served_engine.pipeline, 10), Settings())
    with TestClient(trace_requests(create_app_on(runtime), runtime.metrics, provider)) as client:
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answer = client.post(
            "/retrieve",
            params={"already_cropped": "true", "k": 3},
            files={"image": ("secret.png", crop_file)},
            headers={"traceparent": parent},
        )
        assert answer.status_code == 200
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"POST /retrieve", "decode", "embed", "search"}
    request = spans["POST /retrieve"]
    assert format(request.context.trace_id, "032x") in parent
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    for stage in ("decode", "embed", "search"):  # a crop is not searched for faces
        inside = spans[stage].parent
        assert inside is not None
        assert inside.span_id == request.context.span_id
    assert "secret" not in str([span.to_json() for span in spans.values()])


def test_no_traces_without_a_configured_exporter() -> None:
    assert otlp_provider({}) is None
    assert otlp_provider({ENDPOINTS[0]: ""}) is None


@pytest.mark.parametrize("variable", ENDPOINTS)
def test_variables_of_opentelemetry_switch_traces_on(variable: str) -> None:
    provider = otlp_provider({variable: "http://127.0.0.1:9", "OTEL_SERVICE_NAME": "faces"})
    assert provider is not None
    assert provider.resource.attributes["service.name"] == "faces"
    provider.shutdown()
