"""What is asked: queries without an image, filters, and the options of retrievals and of work on many images."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypedDict, cast

from mien.model.faces.pictures import Colour

Query = dict[str, Any]
"""A point without an image, such as ``{"emotion": "surprise"}``: see ``POST /retrieve`` in the service's /docs."""

Filter = dict[str, Any]
"""A condition on faces, such as ``{"emotion": "fear"}``: see docs/gallery.md."""

Faces = Literal["all", "largest"] | int
"""Which faces of an image are answered: all, the largest, or the N largest."""

Prior = Literal["uniform", "data"]
"""Weights of the emotions in a posterior: all the same, or their shares of the training faces."""

OnProgress = Callable[[int, int | None], None]
"""Called with the number of images done and the total, None if it is not known."""


class RetrievalOptions(TypedDict, total=False):
    """Which faces of the gallery may match.

    Attributes:
        filter: only faces that pass it.
        one_per_subject: only the nearest face of each subject.
        exclude_subject: a subject, or several, whose faces are left out.
        mask_copies: leave out faces of the same image, and those as near as a copy of it.
        max_distance: leave out what is farther, in embedding units.
        photographs: also so many of the nearest faces that have a thumbnail.
        summary: also a count, by sub-class, of so many of the nearest faces.
        prior: weights of the emotions in the posterior of the query.
        after: ``next`` of the answer before, for the page that follows; for a single face or point.
    """

    filter: Filter | None
    one_per_subject: bool
    exclude_subject: str | Sequence[str]
    mask_copies: bool
    max_distance: float | None
    photographs: int
    summary: int
    prior: Prior | None
    after: str | None


class FaceOptions(TypedDict, total=False):
    """How an image is read, and which of its faces are answered; ``Client.classify`` explains them."""

    already_cropped: bool
    faces: Faces
    colour: Colour


class ClassificationOptions(FaceOptions, total=False):
    """The options of a classification of an image."""

    prior: Prior | None


class RetrievalFaceOptions(FaceOptions, RetrievalOptions, total=False):
    """The options of a retrieval with an image."""


class BatchOptions(FaceOptions, total=False):
    """The options of answers about many images; ``classify_all`` explains them."""

    batch: int
    progress: bool
    on_progress: OnProgress | None


class AdditionOptions(TypedDict, total=False):
    """The options of additions of many faces; ``add`` explains them."""

    already_cropped: bool
    which: Faces
    thumbnails: bool | None
    colour: Colour
    batch: int
    progress: bool
    on_progress: OnProgress | None


class ClassificationBatchOptions(BatchOptions, total=False):
    """The options of classifications of many images."""

    prior: Prior | None


class RetrievalBatchOptions(BatchOptions, RetrievalOptions, total=False):
    """The options of retrievals with many images."""


def retrieval_options(
    *,
    filter: Filter | None = None,  # noqa: A002
    one_per_subject: bool = False,
    exclude_subject: str | Sequence[str] = (),
    mask_copies: bool = False,
    max_distance: float | None = None,
    photographs: int = 0,
    summary: int = 0,
    prior: Prior | None = None,
    after: str | None = None,
) -> dict[str, Any]:
    """``RetrievalOptions`` that differ from their defaults, as fields of a request.

    Raises:
        TypeError: there is no option of this name, or ``exclude_subject`` is neither a text nor several.
    """
    subjects = [exclude_subject] if isinstance(exclude_subject, str) else exclude_subject
    if not isinstance(subjects, Iterable):
        raise TypeError(f"exclude_subject must be a subject or several, got {exclude_subject!r}")
    options = {
        "filter": filter,
        "one_per_subject": one_per_subject or None,
        "exclude_subject": list(subjects) or None,
        "mask_copies": mask_copies or None,
        "max_distance": max_distance,
        "photographs": photographs or None,
        "summary": summary or None,
        "prior": prior,
        "after": after,
    }
    return {name: value for name, value in options.items() if value is not None}


def split_options(options: RetrievalBatchOptions) -> tuple[BatchOptions, RetrievalOptions]:
    """The options of work on many images, and those of retrievals; unknown ones are with the latter."""
    batch = {name: value for name, value in options.items() if name in ClassificationBatchOptions.__annotations__}
    retrieval = {name: value for name, value in options.items() if name not in batch}
    return cast(BatchOptions, batch), cast(RetrievalOptions, retrieval)
