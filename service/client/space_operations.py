"""The service's operations on its space: explanations, portraits, the map and the atlas (see ``operations``)."""

from collections.abc import Sequence
from typing import Any

from mien.model.faces.pictures import Colour, Image, encode_image
from mien.service.answers.info import Info
from mien.service.answers.options import Query
from mien.service.answers.space import Atlas, Explanation, Map
from mien.service.client.batches import Steps
from mien.service.client.requests import Request, parameters_of
from mien.service.client.responses import ServiceError, read_answer


def explain(
    image: Image,
    *,
    face: int = 0,
    emotion: str | None = None,
    match: str | None = None,
    already_cropped: bool = False,
    colour: Colour = "rgb",
) -> Steps[Explanation]:
    """Which places of a face its emotion rests on, and what it has in common with a match.

    Args:
        image: as of ``classify``.
        face: number of the face, largest first, from 0.
        emotion: to explain; None takes the nearest.
        match: id of a face of the gallery to compare with.
        already_cropped: see ``classify``.
        colour: see ``classify``.

    Raises as ``classify`` does.
    """
    sent = {"face": face, "emotion": emotion, "match": match, "already_cropped": already_cropped}
    files = {"image": encode_image(image, colour)}
    response = yield Request("/explain", {"params": parameters_of(sent), "files": files})
    yield [read_answer(Explanation, response)]


def explain_point(query: Query, match: str) -> Steps[Explanation]:
    """What a point without an image and a match have in common.

    Args:
        query: as of ``nearest``.
        match: id of a face of the gallery.

    Raises:
        ServiceError: the service refuses the query, or has no such face.
        ClientError: the service cannot be reached.
    """
    response = yield Request("/explain", {"json": {"query": query, "match": match}})
    yield [read_answer(Explanation, response)]


def portrait(query: Query, *, side_px: int = 192) -> Steps[bytes]:
    """The average face near a point, as a grey PNG file.

    Args:
        query: as of ``nearest``, except a mix.
        side_px: height and width of the picture.

    Raises:
        ServiceError: the service refuses the query, or its bundle has no portraits.
        ClientError: the service cannot be reached.
    """
    sent: dict[str, Any] = {**query, "side_px": side_px}
    if "embedding" in sent:
        sent["embedding"] = ",".join(str(number) for number in sent["embedding"])
    response = yield Request("/portrait", {"params": parameters_of(sent)}, "GET")
    yield [response.content]


def portraits(queries: Sequence[Query]) -> Steps[bytes]:
    """The average faces of several points: one PNG file, 48 pixels wide, with one below the other.

    Raises as ``portrait`` does.
    """
    response = yield Request("/portraits", {"json": {"queries": list(queries)}})
    yield [response.content]


def space_map() -> Steps[Map]:
    """The space in two dimensions, with the faces of the gallery; errors as of ``atlas``."""
    response = yield Request("/map", {}, "GET")
    yield [read_answer(Map, response)]


def atlas() -> Steps[Atlas]:
    """Every emotion and sub-class, with its share of the gallery and its nearest faces.

    Raises:
        ServiceError: the service refuses the request.
        ClientError: the service cannot be reached.
    """
    response = yield Request("/atlas", {}, "GET")
    yield [read_answer(Atlas, response)]


def info() -> Steps[Info]:
    """What is served: the gallery, the emotions, the scale of distances and the limits; errors as of ``atlas``."""
    response = yield Request("/info", {}, "GET")
    yield [read_answer(Info, response)]


def is_ready() -> Steps[bool]:
    """Whether the service answers requests; false while it starts, stops or fails.

    Raises:
        ClientError: it cannot be reached.
    """
    try:
        yield Request("/health/ready", {}, "GET", retried=False)
    except ServiceError:
        yield [False]
    else:
        yield [True]


def reload() -> Steps[None]:
    """Make the service load its bundle again while the old one answers.

    Raises:
        ServiceError: the bundle cannot be used (409); the old one is still served.
        ClientError: the service cannot be reached.
    """
    yield Request("/admin/reload", {})
    yield [None]
