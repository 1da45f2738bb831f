"""The Python client: the service from a program, with typed answers.

    from mien import Client

    with Client("http://127.0.0.1:8000") as client:
        for face in client.retrieve("photo.jpg", k=5).faces:
            print(face.emotion, [match.id for match in face.matches])

``AsyncClient`` has the same methods to await.
"""

from mien.model.faces.pictures import Image
from mien.service.answers.base import Answer
from mien.service.answers.faces import (
    Classification,
    EmbeddedFace,
    Embedding,
    Face,
    FoundMatch,
    MatchedFace,
    PointRetrieval,
    Retrieval,
)
from mien.service.answers.gallery import Added, Deleted, GalleryFace, GalleryStatistics, WholeFace
from mien.service.answers.info import Info
from mien.service.answers.options import Filter, Query
from mien.service.answers.space import Atlas, Explanation, Map
from mien.service.answers.video import TrackedFace, VideoEnd, VideoFrame, VideoTrack
from mien.service.client.async_client import AsyncClient
from mien.service.client.batches import NewFace
from mien.service.client.client import Client
from mien.service.client.requests import Retries
from mien.service.client.responses import ClientError, ServiceError

__all__ = [
    "Added",
    "Answer",
    "AsyncClient",
    "Atlas",
    "Classification",
    "Client",
    "ClientError",
    "Deleted",
    "EmbeddedFace",
    "Embedding",
    "Explanation",
    "Face",
    "Filter",
    "FoundMatch",
    "GalleryFace",
    "GalleryStatistics",
    "Image",
    "Info",
    "Map",
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
    "WholeFace",
]
