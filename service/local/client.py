"""The client without a service: the methods and answers of ``mien.Client``, from an engine in this process."""

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, cast, overload

from pydantic import TypeAdapter, ValidationError

from mien.index.errors import QueryError
from mien.model.errors import first_fault
from mien.model.faces.pictures import Colour, Image, Video, is_several
from mien.model.faces.reader import Face
from mien.service.answers.base import Answer
from mien.service.answers.faces import Classification, Embedding, PointRetrieval, Retrieval
from mien.service.answers.options import (
    BatchOptions,
    ClassificationBatchOptions,
    ClassificationOptions,
    FaceOptions,
    Faces,
    Query,
    RetrievalBatchOptions,
    RetrievalFaceOptions,
    RetrievalOptions,
    retrieval_options,
    split_options,
)
from mien.service.answers.video import VideoLine
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.local.reading import Failure, ImageReader, Search, check_count, check_prior, max_faces_of
from mien.service.local.video import frames_of, predict_frames
from mien.service.schemas import faces as schemas
from mien.service.schemas.queries import Query as QueryModel
from mien.service.schemas.queries import point_of
from mien.service.schemas.retrieval import RetrievalOptions as RetrievalOptionsModel
from mien.service.schemas.retrieval import search_options
from mien.service.video.frame_reader import FrameReader

MAX_K: Final = 1000
"""Most matches of a query to your own gallery, as of a service."""

_QUERY: Final[TypeAdapter[QueryModel]] = TypeAdapter(QueryModel)

Several = list[Any] | tuple[Any, ...]
"""Several images, which may be of different kinds."""

AnswerKind = TypeVar("AnswerKind", bound=Answer)


class LocalClient:
    """Classifies, retrieves and embeds in this process, with the methods and answers of ``Client``. Thread-safe.

    Each method takes one image, or a list or tuple of them, whose answers are a list in the same order; several images
    are read in threads and embedded together. An image that cannot be used raises its error; in a list, the error
    stands in its place.

    Attributes:
        engine: that answers.
    """

    def __init__(self, engine: Engine) -> None:
        """Answer from ``engine``; ``mien.load`` makes one."""
        self.engine = engine
        self._reader = ImageReader(engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the gallery."""
        self.engine.gallery.close()

    @overload
    def classify(self, image: Image, **options: Unpack[ClassificationOptions]) -> Classification: ...
    @overload
    def classify(
        self, image: Several, **options: Unpack[ClassificationBatchOptions]
    ) -> list[Classification | Failure]: ...
    def classify(self, image: Any, **options: Any) -> Any:
        """The faces of an image and their emotions.

        Args:
            image: the path of its file, its bytes, a file opened in binary mode, a Pillow image or a NumPy array:
                (h, w, 3), (h, w, 1) or (h, w), uint8 or float from 0 to 1; or a list of these.
            **options: ``already_cropped``: it is a face crop, and nothing is detected. ``faces``: ``all``, ``largest``,
                or the number of the largest that are answered. ``colour``: order of the channels of an array, ``rgb``
                or ``bgr`` (OpenCV). ``prior``: weights of the emotions in the posterior, ``uniform`` or ``data``, their
                shares of the training faces. Of a list also ``progress``: draw a progress bar on standard error;
                ``on_progress``: called with the number of images done and the total; ``batch``: images that are read
                and embedded together (64).

        Raises:
            ImageError: the image cannot be used, or has no face.
            OSError: its file cannot be read.
            QueryError: an option is out of range.
            TypeError: it is no image, or there is no such option.
        """
        return self._answer(image, schemas.classification, options)

    @overload
    def retrieve(self, image: Image, *, k: int = 10, **options: Unpack[RetrievalFaceOptions]) -> Retrieval: ...
    @overload
    def retrieve(
        self, image: Several, *, k: int = 10, **options: Unpack[RetrievalBatchOptions]
    ) -> list[Retrieval | Failure]: ...
    def retrieve(self, image: Any, *, k: int = 10, **options: Any) -> Any:
        """The faces of an image, each with the k nearest expressions of the gallery.

        Args:
            image: as of ``classify``.
            k: matches of each face.
            **options: as of ``classify``; and which faces of the gallery may match: ``filter``, ``one_per_subject``,
                ``exclude_subject`` (one or several), ``mask_copies``, ``max_distance``, ``after``; and what is answered
                beside them: ``photographs``, ``summary``; see docs/gallery.md.

        Raises as ``classify`` does.
        """
        return self._answer(image, schemas.retrieval, options, k)

    @overload
    def embed(self, image: Image, **options: Unpack[ClassificationOptions]) -> Embedding: ...
    @overload
    def embed(self, image: Several, **options: Unpack[ClassificationBatchOptions]) -> list[Embedding | Failure]: ...
    def embed(self, image: Any, **options: Any) -> Any:
        """The faces of an image and their points in the space; arguments and errors as of ``classify``."""
        return self._answer(image, schemas.embedding, options)

    @overload
    def faces(self, image: Image, **options: Unpack[FaceOptions]) -> list[Face]: ...
    @overload
    def faces(self, image: Several, **options: Unpack[BatchOptions]) -> list[list[Face] | Failure]: ...
    def faces(self, image: Any, **options: Any) -> Any:
        """The faces of an image, cut out but not embedded: box, landmarks, crop and score, largest first.

        Arguments and errors as of ``classify``.
        """
        if is_several(image):
            return list(self._reader.faces_of_all(image, **options))
        return self._reader.faces(image, **options)

    def nearest(self, query: Query, *, k: int = 10, **options: Unpack[RetrievalOptions]) -> PointRetrieval:
        """The k nearest expressions to a point without an image, with the options of ``retrieve``.

        Args:
            query: the point, such as ``{"emotion": "surprise"}``, ``{"id": "fer0012345"}``, ``{"embedding": [...]}``.
            k: matches.
            **options: which faces may match.

        Raises:
            QueryError: the query cannot be answered, or an option is out of range.
            TypeError: there is no such option.
        """
        prior = check_prior(options.pop("prior", None))
        search = self._search(k, options)
        point = point_of(_read(_QUERY.validate_python, query), self.engine.bundle, self.engine.gallery)
        request = InferenceRequest(points=point[None], prior=prior, **vars(search))
        return rounded(schemas.point_retrieval(self.engine.predict_one(request)))

    def classify_all(
        self, images: Iterable[Image], **options: Unpack[ClassificationBatchOptions]
    ) -> Iterator[Classification | Failure]:
        """``classify`` of a list, one answer after the other; an iterator is read as answers are taken."""
        return self._answer_all(images, schemas.classification, options)

    def retrieve_all(
        self, images: Iterable[Image], *, k: int = 10, **options: Unpack[RetrievalBatchOptions]
    ) -> Iterator[Retrieval | Failure]:
        """``retrieve`` of a list, one answer after the other, as ``classify_all``."""
        return self._answer_all(images, schemas.retrieval, options, k)

    def embed_all(
        self, images: Iterable[Image], **options: Unpack[ClassificationBatchOptions]
    ) -> Iterator[Embedding | Failure]:
        """``embed`` of a list, one answer after the other, as ``classify_all``."""
        return self._answer_all(images, schemas.embedding, options)

    def predict_all(
        self, images: Iterable[Image], *, k: int | None = None, **options: Unpack[RetrievalBatchOptions]
    ) -> Iterator[Prediction | Failure]:
        """The arrays that answers are made of: embeddings (n, d), posteriors (n, c) and the like of each image's faces.

        Args:
            images: as of ``classify_all``.
            k: matches of each face; None searches nothing.
            **options: as of ``retrieve``.

        Raises as ``classify_all`` does.
        """
        batch, retrieval = split_options(options)
        return self._reader.predict_all(images, self._search(k, retrieval), **batch)

    def classify_video(
        self,
        video: Video | Iterable[Image],
        *,
        fps: float = 5.0,
        already_cropped: bool = False,
        faces: Faces = "all",
        colour: Colour = "rgb",
    ) -> Iterator[VideoLine]:
        """The faces of a video, frame by frame; then the tracks, each a face over the whole video; then the end.

        Args:
            video: the path of its file, its bytes, or a file opened in binary mode; or its frames: a list or an
                iterator of images, or an array (n, h, w, 3).
            fps: frames of a second that are answered; of frames, how many of them follow each other in a second.
            already_cropped: each frame is a face crop, and nothing is detected.
            faces: which faces of each frame are answered.
            colour: order of the channels of frames that are arrays.

        Raises:
            VideoError: the video cannot be used, or the extra ``video`` is not installed; what goes wrong after the
                first frame is the ``problem`` of the end.
            ImageError: a frame cannot be used.
            OSError: the file cannot be read.
            QueryError: an option is out of range.
        """
        if not isinstance(fps, int | float) or not 0 < fps <= 1000:
            raise QueryError(f"fps must be above 0 and at most 1000, got {fps!r}")
        frames = frames_of(video, fps, self.engine.pipeline.limits, colour=colour)
        reader = FrameReader(self.engine, already_cropped=already_cropped, max_faces=max_faces_of(faces))
        lines = predict_frames(self.engine, frames, fps, reader)
        return map(rounded, lines)

    def _search(self, k: int | None, options: RetrievalOptions) -> Search:
        """What is searched.

        Raises:
            QueryError: an option is out of range.
            TypeError: there is no such option.
        """
        given = retrieval_options(**options) if options else {}
        if k is None:
            return Search()
        check_count("k", k)
        condition = given.pop("filter", None)
        chosen = _read(RetrievalOptionsModel.model_validate, given)
        self.engine.check_retrieval(k, chosen.photographs, chosen.summary)
        return Search(k, search_options(chosen, condition), chosen.photographs, chosen.summary)

    def _answer(
        self, image: Any, present: Callable[[Prediction], AnswerKind], options: dict[str, Any], k: int | None = None
    ) -> AnswerKind | list[AnswerKind | Failure]:
        if is_several(image):
            return list(self._answer_all(image, present, options, k))
        batch, retrieval = split_options(options)  # type: ignore[arg-type]
        search = self._search(k, retrieval)
        return rounded(present(self._reader.predict(image, search, **cast(ClassificationOptions, batch))))

    def _answer_all(
        self,
        images: Iterable[Image],
        present: Callable[[Prediction], AnswerKind],
        options: Any,
        k: int | None = None,
    ) -> Iterator[AnswerKind | Failure]:
        for found in self.predict_all(images, k=k, **options):
            yield rounded(present(found)) if isinstance(found, Prediction) else found


def rounded(answer: AnswerKind) -> AnswerKind:
    """An answer with the decimals that a client of the service would get."""
    return answer.model_validate(answer.model_dump())


Checked = TypeVar("Checked")


def _read(validate: Callable[[Any], Checked], value: Any) -> Checked:
    try:
        return validate(value)
    except ValidationError as error:
        raise QueryError(first_fault(error)) from None
