"""Errors of requests: each is answered as ``mien.service.routes.problems`` says.

RequestError
BodyTooLargeError, BodyTooSlowError, MalformedBodyError, JsonError
MissingFieldError, MalformedImageError, TooManyImagesError
QueueFullError, TooLateError
NotReadyError, ReloadError
ForeignHostError, ForeignPageError, MalformedHeadError
"""


class RequestError(Exception):
    """A request that cannot be answered."""


class BodyTooLargeError(RequestError):
    """The body is over the limit."""


class BodyTooSlowError(RequestError):
    """The body did not arrive in time."""


class MalformedBodyError(RequestError):
    """The body is not what its content type says it is."""


class JsonError(RequestError):
    """The body is JSON that is not taken: too much of it, equal keys, or values that most programs cannot hold."""


class MissingFieldError(RequestError):
    """A field of the body is missing, or has another form than it must have."""


class MalformedImageError(RequestError):
    """An image of a JSON body is not base64."""


class TooManyImagesError(RequestError):
    """The request has more images than a request may have."""


class QueueFullError(RequestError):
    """There is more work than may wait."""


class TooLateError(RequestError):
    """The answer took longer than it may."""


class NotReadyError(RequestError):
    """The service is starting, stopping, or its network fails."""


class ReloadError(RequestError):
    """The new bundle cannot be used; the old one is still served."""


class ForeignHostError(RequestError):
    """The request is for a host that the service does not answer for."""


class ForeignPageError(RequestError):
    """A page of another origin tried to change something, or to open a WebSocket."""


class MalformedHeadError(RequestError):
    """A header that must be there once is missing or doubled."""
