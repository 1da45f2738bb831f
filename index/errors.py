"""Errors of bundles, galleries and queries.

ArtifactError
├── BundleError                 a bundle, or one of its parts
└── GalleryError                the folder, database or server of a gallery
    ├── GalleryFullError        it has no space left for a write
    └── GalleryDamagedError     its database cannot be read
MienError
└── QueryError                  a request to a gallery cannot be answered
    ├── DeadlineError           its answer would have come too late
    ├── FilterError             its filter cannot be read
    ├── FaceFieldError          a face has a field that cannot be stored
    ├── FaceConflictError       the id of a face is there already, with other content
    ├── UnknownFaceError        the id of a face is not there
    └── ReadOnlyGalleryError    a write to a gallery that takes none
"""

from mien.model.errors import ArtifactError, MienError


class BundleError(ArtifactError):
    """A bundle is missing or broken, or its parts do not belong together."""


class GalleryError(ArtifactError):
    """A gallery is missing, broken, locked by another process, of a newer version, or fails."""


class GalleryFullError(GalleryError):
    """No space is left for a write; the gallery is as it was before."""


class GalleryDamagedError(GalleryError):
    """The database of a gallery cannot be read, not even in part: a snapshot must be restored."""


class QueryError(MienError):
    """A request to the gallery cannot be answered."""


class DeadlineError(QueryError):
    """The answer would have come too late."""


class FilterError(QueryError):
    """A filter cannot be read.

    Attributes:
        where: the JSON path of the fault, such as ``$.and[1].time``.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where


class FaceFieldError(QueryError):
    """A face has a field that cannot be stored."""


class FaceConflictError(QueryError):
    """An id is in the gallery already, with other content."""


class UnknownFaceError(QueryError):
    """The gallery has no face with this id."""


class ReadOnlyGalleryError(QueryError):
    """The gallery takes no writes."""
