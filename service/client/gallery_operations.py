"""The service's operations on its gallery (see ``operations``)."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict, Unpack
from urllib.parse import quote

from mien.service.answers.gallery import (
    Added,
    Deleted,
    GalleryFace,
    GalleryPage,
    GalleryStatistics,
    Thumbnails,
    WholeFace,
)
from mien.service.answers.options import AdditionOptions, Filter
from mien.service.client.batches import Batches, NewFace, Steps, addition_batches
from mien.service.client.operations import PAGE
from mien.service.client.requests import Request, parameters_of
from mien.service.client.responses import ClientError, read_answer


class FaceChanges(TypedDict, total=False):
    """The fields of a face that may change; None removes a field, ``metadata`` is merged (RFC 7396)."""

    label: str | None
    subject: str | None
    metadata: dict[str, Any]
    time: float | str | None


def gallery(*, filter: Filter | None = None, page: int = PAGE) -> Steps[GalleryFace]:  # noqa: A002
    """Every face of the gallery by id, as they were at the start; pages are fetched when they are needed.

    Args:
        filter: only faces that pass it.
        page: faces of a request.

    Raises:
        ServiceError: the service refuses the filter.
        ClientError: the service cannot be reached.
    """
    after: str | None = None
    while True:
        sent = {"limit": page, "statistics": False, "filter": filter, "after": after}
        response = yield Request("/gallery", {"params": parameters_of(sent)}, "GET")
        answer = read_answer(GalleryPage, response)
        yield answer.faces
        after = answer.next
        if after is None:
            return


def statistics() -> Steps[GalleryStatistics]:
    """Counts of the gallery's faces: all, of each emotion, label and sub-class."""
    response = yield Request("/gallery", {"params": {"limit": "1"}}, "GET")
    found = read_answer(GalleryPage, response).statistics
    if found is None:
        raise ClientError(f"expected statistics from {response.url}, got none")
    yield [found]


def get_face(face_id: str) -> Steps[WholeFace]:
    """A face of the gallery with all that is kept of it.

    Raises:
        ServiceError: the gallery has no such face (404).
        ClientError: the service cannot be reached.
    """
    response = yield Request(_path(face_id), {}, "GET")
    yield [read_answer(WholeFace, response)]


def thumbnails(ids: Sequence[str]) -> Steps[dict[str, bytes]]:
    """The thumbnails of faces of the gallery, as image files (WebP or PNG) by id; those that have none are left out.

    Raises:
        ServiceError: there are too many ids for one request.
        ClientError: the service cannot be reached.
    """
    response = yield Request("/thumbnails", {"json": {"ids": list(ids)}})
    found = read_answer(Thumbnails, response).thumbnails
    yield [{face_id: base64.b64decode(file) for face_id, file in found.items()}]


def update_face(face_id: str, **changes: Unpack[FaceChanges]) -> Steps[WholeFace]:
    """Change fields of a face of the gallery; the others stay.

    Args:
        face_id: of the face.
        **changes: ``label``, ``subject``, ``metadata``, ``time``: None removes a field; metadata are merged, and a key
            of them that is None is removed.

    Raises:
        ServiceError: the gallery has no such face (404), takes no writes (403), or a field cannot be stored (422).
        ClientError: the service cannot be reached.
        TypeError: there is no field of this name.
    """
    unknown = sorted(changes.keys() - FaceChanges.__annotations__.keys())
    if unknown:
        raise TypeError(f"a change must be of {', '.join(FaceChanges.__annotations__)}, got {', '.join(unknown)}")
    response = yield Request(_path(face_id), {"json": changes}, "PATCH")
    yield [read_answer(WholeFace, response)]


def delete_face(face_id: str) -> Steps[None]:
    """Delete a face of the gallery; errors as of ``update_face``."""
    yield Request(_path(face_id), {}, "DELETE")
    yield [None]


def delete_faces(*, subject: str | None = None, filter: Filter | None = None) -> Steps[Deleted]:  # noqa: A002
    """Delete every face of a subject, or every face that passes a filter, of which exactly one is given.

    Raises:
        ServiceError: the gallery takes no writes (403), or the filter cannot be read (422).
        ClientError: the service cannot be reached.
    """
    sent = parameters_of({"subject": subject, "filter": filter})
    response = yield Request("/gallery", {"params": sent}, "DELETE")
    yield [read_answer(Deleted, response)]


def add(
    faces: Iterable[NewFace], *, replace: bool = False, **options: Unpack[AdditionOptions]
) -> Batches[NewFace, Added]:
    """Add faces to the gallery, several to a request; the faces of each answer are on the service's disk.

    Args:
        faces: in the order of the ids that are returned. Those of a request are added together or not at all.
        replace: replace faces that the gallery has with the same id and other content.
        **options: of ``classify_all``, with ``which`` in place of ``faces``: which faces of each image are added, the
            largest one without it; further ones have the id of the first with #2, #3 and so on. ``thumbnails``: keep a
            thumbnail of each face, or none; without it, as the service's setting says.

    Raises:
        ServiceError: the service refuses a request; the faces of the requests before it are kept.
        OSError: a file cannot be read.
        ClientError: the service cannot be reached.
    """
    return addition_batches(faces, replace=replace, **options)


def _path(face_id: str) -> str:
    return f"/gallery/{quote(face_id, safe='')}"
