"""Expression retrieval: a face to a point, the point to its neighbours and its emotion.

The public names are loaded when they are first used: ``import mien`` alone loads none of the engines (ONNX Runtime,
FAISS, torch) and no web framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mien.model.errors import MienError as MienError
    from mien.service.client.client import AsyncClient as AsyncClient
    from mien.service.client.client import Client as Client
    from mien.service.client.client import ServiceError as ServiceError

_HOMES: Final = {
    "AsyncClient": "mien.service.client.client",
    "Client": "mien.service.client.client",
    "MienError": "mien.model.errors",
    "ServiceError": "mien.service.client.client",
}
"""Where each public name is defined."""

__all__ = ["AsyncClient", "Client", "MienError", "ServiceError"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
