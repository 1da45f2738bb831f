"""The Python client: the service from a program, with typed answers.

    from mien import Client

    with Client("http://127.0.0.1:8000") as client:
        for face in client.retrieve("photo.jpg", k=5).faces:
            print(face.emotion, [match.id for match in face.matches])

``AsyncClient`` has the same methods to await.
"""

from mien.service.client.answers import (
    Added,
    Answer,
    Classification,
    ClientError,
    EmbeddedFace,
    Embedding,
    Face,
    FoundMatch,
    GalleryFace,
    MatchedFace,
    PointRetrieval,
    Retrieval,
    ServiceError,
    TrackedFace,
    VideoEnd,
    VideoFrame,
    VideoTrack,
)
from mien.service.client.async_client import AsyncClient
from mien.service.client.batches import NewFace
from mien.service.client.client import Client
from mien.service.client.requests import Filter, Image, Query, Retries

__all__ = [
    "Added",
    "Answer",
    "AsyncClient",
    "Classification",
    "Client",
    "ClientError",
    "EmbeddedFace",
    "Embedding",
    "Face",
    "Filter",
    "FoundMatch",
    "GalleryFace",
    "Image",
    "MatchedFace",
    "NewFace",
    "PointRetrieval",
    "Query",
    "Retries",
    "Retrieval",
    "ServiceError",
    "TrackedFace",
    "VideoEnd",
    "VideoFrame",
    "VideoTrack",
]
