"""Expression retrieval: a face to a point, the point to its neighbours and its emotion.

    mien.load().classify("photo.jpg")              in this process
    mien.Client("localhost:8000").classify(...)    from a service

The public names are loaded when they are first used: ``import mien`` alone loads none of the engines (ONNX Runtime,
FAISS, torch) and no web framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mien.model.errors import MienError as MienError
    from mien.service.client import AsyncClient as AsyncClient
    from mien.service.client import Client as Client
    from mien.service.client import ClientError as ClientError
    from mien.service.client import NewFace as NewFace
    from mien.service.client import ServiceError as ServiceError
    from mien.service.local.load import load as load

_HOMES: Final = {
    "AsyncClient": "mien.service.client",
    "Client": "mien.service.client",
    "ClientError": "mien.service.client",
    "MienError": "mien.model.errors",
    "NewFace": "mien.service.client",
    "ServiceError": "mien.service.client",
    "load": "mien.service.local.load",
}
"""Where each public name is defined."""

__all__ = ["AsyncClient", "Client", "ClientError", "MienError", "NewFace", "ServiceError", "load"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
