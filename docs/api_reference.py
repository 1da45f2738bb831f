"""The reference of the HTTP interface, written from its OpenAPI description.

    python docs/api_reference.py > docs/api.md

The same description is what ``/docs`` and ``/redoc`` of a running service show, with forms to try it.
"""

import sys
from collections.abc import Iterator
from typing import Any, Final

from mien.index.bundle.default import default_bundle
from mien.service.app import create_app
from mien.service.inference.engine import load_engine
from mien.service.settings import Settings

OPENING: Final = """# The HTTP interface

Written from the service's OpenAPI description by `python docs/api_reference.py`; a running service has the same at
`/docs`, with forms to try it, and as JSON at `/openapi.json`. [answers.md](answers.md) explains the fields and the
errors. If the service was started with keys, each request needs `Authorization: Bearer KEY` or `X-API-Key: KEY`.
"""


def reference(description: dict[str, Any]) -> str:
    """The reference as a Markdown document.

    Args:
        description: as ``FastAPI.openapi`` gives it.
    """
    parts = [OPENING]
    for path, methods in description["paths"].items():
        parts += [_operation(method.upper(), path, operation) for method, operation in methods.items()]
    parts.append("## Bodies and answers\n")
    parts += [
        _schema(name, schema)
        for name, schema in sorted(description["components"]["schemas"].items())
        if schema.get("properties")
    ]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"## {method} {path}", "", f"{operation.get('summary', '')}.", ""]
    if operation.get("description"):
        lines += [" ".join(operation["description"].split()), ""]
    parameters = operation.get("parameters", [])
    if parameters:
        lines += ["| parameter | in | type | meaning |", "|---|---|---|---|"]
        lines += [
            _row(each["name"], each["in"], _type(each["schema"]), _meaning(each, each["schema"])) for each in parameters
        ]
        lines.append("")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += [f"Body, `{kind}`: {_body(content['schema'])}", ""]
    answers = [_answer(status, each) for status, each in operation["responses"].items() if status.startswith("2")]
    refusals = [status for status in operation["responses"] if not status.startswith("2")]
    lines += [f"Answers: {'; '.join(answers)}" + (f". Problems: {', '.join(refusals)}." if refusals else "."), ""]
    return "\n".join(lines)


def _body(schema: dict[str, Any]) -> str:
    if "properties" not in schema:
        return _type(schema)
    fields = [f"`{name}` ({_type(each)}{_explained(each)})" for name, each in schema["properties"].items()]
    return ", ".join(fields)


def _explained(schema: dict[str, Any]) -> str:
    return f": {schema['description'].rstrip('.')}" if schema.get("description") else ""


def _answer(status: str, response: dict[str, Any]) -> str:
    kinds = [
        _type(content["schema"]) if content.get("schema") else f"`{kind}`"
        for kind, content in response.get("content", {}).items()
    ]
    return f"{status}" + (f", {' or '.join(kinds)}" if kinds else "")


def _schema(name: str, schema: dict[str, Any]) -> str:
    lines = [f"### {name}", ""]
    if schema.get("description"):
        lines += [" ".join(schema["description"].split()), ""]
    lines += ["| field | type | meaning |", "|---|---|---|"]
    lines += [_row(field, _type(each), _meaning(each, each)) for field, each in schema["properties"].items()]
    return "\n".join([*lines, ""])


def _meaning(described: dict[str, Any], schema: dict[str, Any]) -> str:
    words = " ".join(str(described.get("description", "")).split())
    default = schema.get("default")
    if default is not None and default != []:
        words = f"{words} Default: `{default}`.".strip()
    return words


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_alternatives(schema[key])))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = schema.get("items")
        return f"list of {_type(items)}" if items else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    name = {"binary": "file"}.get(schema.get("format", ""), str(schema.get("type", "anything")))
    limits = [
        f"{words} {schema[key]}"
        for key, words in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("maxLength", "up to"),
        )
        if key in schema
    ]
    return f"{name} {' '.join(limits)}".strip()


def _alternatives(schemas: list[dict[str, Any]]) -> Iterator[str]:
    for each in schemas:
        yield _type(each)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def main() -> None:
    """Write the reference to standard output."""
    settings = Settings(bundle=default_bundle(), provider="cpu")
    sys.stdout.write(reference(create_app(load_engine(settings), settings).openapi()))


if __name__ == "__main__":
    main()
