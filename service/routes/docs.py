"""The pages /docs and /redoc, from installed files only: they load nothing from other hosts."""

from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from mien.service.answers.base import Answer
from mien.service.answers.problem import Problem

DOCS_FILES: Final = "/docs/files"


def serve_docs(app: FastAPI) -> None:
    """Serve /docs and /redoc."""
    files = Path(fastapi_offline.__file__).parent / "static"
    app.mount(DOCS_FILES, StaticFiles(directory=files), name="docs-files")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="mien",
            swagger_js_url=f"{DOCS_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_FILES}/favicon.png",
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="/openapi.json",
            title="mien",
            redoc_js_url=f"{DOCS_FILES}/redoc.standalone.js",
            redoc_favicon_url=f"{DOCS_FILES}/favicon.png",
            with_google_fonts=False,
        )


def complete_openapi(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Complete the OpenAPI description: problems, and JSON bodies that FastAPI does not parse."""
    description = app.openapi()
    schemas = description["components"]["schemas"]
    kinds: list[type[BaseModel]] = [Problem, *bodies]
    for kind in kinds:
        mode: JsonSchemaMode = "serialization" if issubclass(kind, Answer) else "validation"
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
        schemas |= schema.pop("$defs", {})
        if "$ref" not in schema:
            schemas[kind.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    description["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "Needed where the service was started with keys."}
    }
    description["security"] = [{}, {"key": []}]
