"""Every error that mien raises on purpose.

    MienError
    ├── ImageError                  something is wrong with a picture that was sent
    │   ├── EmptyImageError         no bytes at all
    │   ├── UnsupportedImageError   not an image, or a format that is not decoded
    │   ├── BrokenImageError        an image that ends early or is damaged
    │   ├── ImageTooLargeError      more bytes or pixels than the limit
    │   └── NoFaceError             an image in which no face was found
    ├── VideoError                  something is wrong with a video that was sent
    │   ├── UnsupportedVideoError   not a video, or a format that is not decoded
    │   ├── BrokenVideoError        a video that is damaged, or of which no frame can be decoded
    │   ├── VideoTooLargeError      larger frames, or more seconds, than the limit
    │   └── NoVideoDecoderError     the extra that decodes videos is not installed
    ├── ArtifactError               a file that mien made or reads is missing, broken or does not fit
    │   ├── DetectorError           the face detector's file
    │   ├── EmbedderError           an exported network
    │   ├── CheckpointError         a training checkpoint
    │   ├── BundleError             a bundle, or one of its parts
    │   └── GalleryError            what keeps a gallery: a folder, a database, a server
    │       └── GalleryFullError    no space is left for a write
    ├── DatasetError                a data set that is not in the layout its owner distributes
    ├── ConfigError                 a setting or an option that cannot work
    └── QueryError                  a request to the gallery that cannot be answered
        ├── FilterError             a filter that cannot be read
        ├── FaceFieldError          a face that cannot be kept as it is
        ├── FaceConflictError       an id that is there with other content
        ├── UnknownFaceError        an id that is not there
        └── ReadOnlyGalleryError    a write to a gallery that takes none

Each message is one sentence that says what was wanted and what came.
"""

from pydantic import ValidationError


class MienError(Exception):
    """Base class: ``except MienError`` catches what a user can act on, and no bug."""


class ImageError(MienError):
    """A picture cannot be used."""


class EmptyImageError(ImageError):
    """The upload or file holds no bytes."""


class UnsupportedImageError(ImageError):
    """The bytes are not an image in a format that is decoded."""


class BrokenImageError(ImageError):
    """The image is truncated or damaged."""


class ImageTooLargeError(ImageError):
    """The image has more bytes or pixels than the limit."""


class NoFaceError(ImageError):
    """No face was found in the image."""


class VideoError(MienError):
    """A video cannot be used."""


class UnsupportedVideoError(VideoError):
    """The bytes are not a video in a format that is decoded."""


class BrokenVideoError(VideoError):
    """The video is damaged, or none of its frames can be decoded."""


class VideoTooLargeError(VideoError):
    """The video has larger frames, or more seconds, than the limit."""


class NoVideoDecoderError(VideoError):
    """The extra that decodes videos is not installed."""


class ArtifactError(MienError):
    """A file that mien made or reads is missing, broken or does not fit."""


class DetectorError(ArtifactError):
    """The face detector's ONNX file cannot be used."""


class EmbedderError(ArtifactError):
    """An exported network cannot be used."""


class CheckpointError(ArtifactError):
    """A training checkpoint cannot be used."""


class BundleError(ArtifactError):
    """A bundle is missing, broken, or made of parts that do not belong together."""


class GalleryError(ArtifactError):
    """What keeps a gallery is missing, broken, held by another, of a newer version, or fails."""


class GalleryFullError(GalleryError):
    """No space is left for a write; the gallery is as it was."""


class DatasetError(MienError):
    """A data set is not in the layout in which its owner distributes it."""


class ConfigError(MienError):
    """A setting or an option cannot work."""


class QueryError(MienError):
    """A request to the gallery that cannot be answered."""


class FilterError(QueryError):
    """A filter cannot be read.

    Attributes:
        where: the JSON path of what is wrong, such as ``$.and[1].time``.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where


class FaceFieldError(QueryError):
    """A face cannot be kept as it is."""


class FaceConflictError(QueryError):
    """An id is in the gallery already, with other content."""


class UnknownFaceError(QueryError):
    """The gallery has no face with this id."""


class ReadOnlyGalleryError(QueryError):
    """The gallery takes no writes."""


def first_fault(error: ValidationError) -> str:
    """Where in the data the first fault is, and what was wanted there."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
