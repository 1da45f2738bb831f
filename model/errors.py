"""Errors that mien raises on purpose.

    MienError
    ├── ImageError                  an image cannot be used
    │   ├── EmptyImageError         it has no bytes
    │   ├── UnsupportedImageError   it is not an image, or in a format that is not decoded
    │   ├── BrokenImageError        it is cut off or damaged
    │   ├── ImageTooLargeError      it has more bytes or pixels than the limit
    │   └── NoFaceError             no face was found in it
    ├── VideoError                  a video cannot be used
    │   ├── UnsupportedVideoError   it is not a video, or in a format that is not decoded
    │   ├── BrokenVideoError        it is damaged, or none of its frames can be decoded
    │   ├── VideoTooLargeError      it has larger frames, or more seconds, than the limit
    │   └── NoVideoDecoderError     the extra that decodes videos is not installed
    ├── ArtifactError               a file that mien made or reads is missing, broken or does not fit
    │   ├── DetectorError           the face detector
    │   ├── EmbedderError           an exported network
    │   └── CheckpointError         a training checkpoint
    ├── DatasetError                a data set is not in the layout in which it is distributed
    └── ConfigError                 a setting or an option cannot work

``mien.index.errors`` has those of bundles, galleries and queries. Each message is one sentence that says what was
expected and what came.
"""

from pydantic import ValidationError


class MienError(Exception):
    """Base class: ``except MienError`` catches what a user can act on, and no bug."""


class ImageError(MienError):
    """An image cannot be used."""


class EmptyImageError(ImageError):
    """The image has no bytes."""


class UnsupportedImageError(ImageError):
    """The bytes are not an image, or one in a format that is not decoded."""


class BrokenImageError(ImageError):
    """The image is cut off or damaged."""


class ImageTooLargeError(ImageError):
    """The image has more bytes or pixels than the limit."""


class NoFaceError(ImageError):
    """No face was found in the image."""


class VideoError(MienError):
    """A video cannot be used."""


class UnsupportedVideoError(VideoError):
    """The bytes are not a video, or one in a format that is not decoded."""


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


class DatasetError(MienError):
    """A data set is not in the layout in which it is distributed."""


class ConfigError(MienError):
    """A setting or an option cannot work."""


def first_fault(error: ValidationError) -> str:
    """Where the first fault of a validation is, and what was expected there."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def reason_of(error: Exception) -> str:
    """Why something failed, without the path that an ``OSError`` repeats."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
