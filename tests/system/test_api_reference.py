from typing import Any

import pytest
from api_reference import reference

from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.data import ROOT

DOCUMENT = ROOT / "docs" / "api.md"


@pytest.fixture(scope="module")
def description(served_engine: Engine) -> dict[str, Any]:
    return create_app(served_engine, Settings()).openapi()


def test_document_is_up_to_date(description: dict[str, Any]) -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference(description), (
        "the interface has changed: python docs/api_reference.py > docs/api.md"
    )


def test_reference_has_every_endpoint_parameter_and_field(description: dict[str, Any]) -> None:
    text = reference(description)
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            part = text.partition(f"## {method.upper()} {path}\n")[2].partition("\n## ")[0]
            for parameter in operation.get("parameters", []):
                assert f"| {parameter['name']} |" in part, (path, parameter["name"])
    for name, schema in description["components"]["schemas"].items():
        part = text.partition(f"### {name}\n")[2].partition("\n### ")[0]
        for field in schema.get("properties", {}):
            assert f"| {field} |" in part, (name, field)
