"""The engine: reads faces out of images, embeds them, names their emotions and searches the gallery.

It knows neither HTTP nor JSON: it takes requests and gives predictions (``mien.service.inference.prediction``), which
``mien.service.schemas`` turns into answers. Its two steps are separate, so that the service can detect the faces of one
image at a time (``read_faces``) and predict those of several requests together (``predict``).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import compress, islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle, check_fits, load_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.errors import QueryError
from mien.index.gallery.cursor import next_page
from mien.index.gallery.filters import AllOf, Comparison
from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.shipped import ShippedGallery
from mien.index.gallery.store import GalleryStore
from mien.index.gallery.summary import summarise
from mien.index.gallery.validation import check_network
from mien.index.mixture.covering import PARTS, Part
from mien.index.mixture.labelling import sub_class_ids
from mien.model.emotions import EmotionPrior
from mien.model.errors import ImageError
from mien.model.faces.quality import measure_quality
from mien.model.faces.reader import Face, whole_face
from mien.model.pipeline import Pipeline, load_pipeline
from mien.model.video.follower import FaceFollower
from mien.service.inference.prediction import Found, InferenceRequest, Prediction
from mien.service.operation.metrics import Metrics

if TYPE_CHECKING:
    from mien.service.settings import Settings

_WITH_THUMBNAIL: Final = Comparison(("has_thumbnail",), "eq", value=True)


class Engine:
    """Predictions about images, from one bundle. Thread-safe."""

    def __init__(
        self,
        bundle: Bundle,
        pipeline: Pipeline,
        max_k: int,
        min_typicality: float | None = None,
        metrics: Metrics | None = None,
        *,
        gallery: GalleryStore | None = None,
        prior: EmotionPrior = "uniform",
    ) -> None:
        """Assemble the parts.

        Args:
            bundle: to predict with.
            pipeline: with the bundle's embedder.
            max_k: largest number of matches of one face.
            min_typicality: faces that are less typical show no known expression; None takes the bundle's.
            metrics: measure the time of each stage.
            gallery: to search; None takes the one that ships with the bundle, read-only.
            prior: weights of the emotions in posteriors, where a request names none.

        Raises:
            BundleError: the pipeline's embedder is not the bundle's.
        """
        check_fits(bundle, pipeline.embedder)
        self.bundle = bundle
        self.pipeline = pipeline
        self.max_k = max_k
        self.prior: EmotionPrior = prior
        self.min_typicality = bundle.mixture.min_typicality if min_typicality is None else min_typicality
        self.metrics = metrics or Metrics()
        self.gallery: GalleryStore = ShippedGallery(bundle) if gallery is None else gallery

    @property
    def serves_shipped(self) -> bool:
        """Whether the gallery is the one that ships with the bundle."""
        return isinstance(self.gallery, ShippedGallery)

    def warm_up(self) -> None:
        """Run every part once, so that the first request is as fast as the others."""
        blank = np.full((240, 320, 3), 127, dtype=np.uint8)
        self.pipeline.crop_faces(blank)
        self.predict([InferenceRequest(faces=[whole_face(blank)], k=1)])

    def label_gallery(self) -> Iterator[None]:
        """Label the faces of the gallery that ships with the bundle, part by part, so that no answer has to."""
        return self.gallery.label_all() if isinstance(self.gallery, ShippedGallery) else iter(())

    def check_retrieval(self, k: int, photographs: int = 0, summary: int = 0) -> None:
        """Check the numbers of faces that a retrieval asks for.

        Raises:
            QueryError: one is above ``max_k``, or ``k`` is below 1.
        """
        for name, least, number in (("k", 1, k), ("photographs", 0, photographs), ("summary", 0, summary)):
            if not least <= number <= self.max_k:
                raise QueryError(f"{name} must be from {least} to {self.max_k}, got {number}")

    def read_faces(
        self,
        image: bytes | NDArray[np.uint8],
        *,
        already_cropped: bool,
        max_faces: int | None = None,
        thumbnails: bool = False,
    ) -> list[Face]:
        """Read the faces of an image, a file or (h, w, 3) uint8 RGB, largest first; boxes in pixels of the picture.

        Args:
            image: the file, or pixels.
            already_cropped: the whole image is one face.
            max_faces: the largest faces that are returned; None returns all that the pipeline reads.
            thumbnails: whether they get thumbnails.

        Raises:
            ImageError: the image cannot be used, or has no face.
        """
        faces = self.pipeline.read_faces(
            image,
            already_cropped=already_cropped,
            thumbnails=(max_faces or sys.maxsize) if thumbnails else 0,
            max_faces=max_faces,
            timed=self.metrics.timed,
        )
        self.metrics.faces_per_image.observe(len(faces))
        return faces

    def read_frame(self, follower: FaceFollower, image: NDArray[np.uint8], time_s: float) -> list[Face]:
        """Read the faces of a decoded frame, largest first; empty when there is none. See ``FaceFollower.read``."""
        with self.metrics.timed("detect"):
            faces = follower.read(image, time_s)
        self.metrics.faces_per_image.observe(len(faces))
        return faces

    def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction | ImageError]:
        """Predict several requests together: one run of the network, one search for each k and options.

        Args:
            requests: each with at least one face or point, or a crop file.

        Returns:
            One prediction for each, in their order, or why its crop file cannot be used.
        """
        readable = [self._read_crop_file(request) for request in requests]
        predictions = iter(self._predict([each for each in readable if isinstance(each, InferenceRequest)]))
        return [each if isinstance(each, ImageError) else next(predictions) for each in readable]

    def predict_one(self, request: InferenceRequest) -> Prediction:
        """Predict one request.

        Raises:
            ImageError: its crop file cannot be used.
        """
        (prediction,) = self.predict([request])
        if isinstance(prediction, ImageError):
            raise prediction
        return prediction

    def _read_crop_file(self, request: InferenceRequest) -> InferenceRequest | ImageError:
        if request.crop_file is None:
            return request
        try:
            faces = self.read_faces(request.crop_file, already_cropped=True)
        except ImageError as error:
            return error
        return replace(request, crop_file=None, faces=faces)

    def _predict(self, requests: list[InferenceRequest]) -> list[Prediction]:
        if not requests:
            return []
        mixture = self.bundle.mixture
        ends = np.cumsum([len(request) for request in requests]).tolist()
        rows = [slice(end - len(request), end) for end, request in zip(ends, requests, strict=True)]
        priors = [request.prior or self.prior for request in requests]
        with self.metrics.timed("embed"):
            embeddings = self._embed(requests)
            distances = mixture.distances(embeddings)
            posteriors = mixture.posterior_at(distances, self.prior)
            for own, prior in zip(rows, priors, strict=True):
                if prior != self.prior:
                    posteriors[own] = mixture.posterior_at(distances[own], prior)
            typicality = mixture.typicality(embeddings)
            known = typicality >= self.min_typicality
            likeliest = posteriors.argmax(axis=1)
            intensity = mixture.intensity(embeddings, likeliest)
            faces = [face for request in requests for face in request.faces]
            quality, covered = iter(measure_quality(faces)), iter(self._covered(requests, faces, embeddings))
            names = sub_class_ids(self.bundle.sub_classes, embeddings, likeliest)
        found: list[list[Found]] = [[]] * len(requests)
        if any(request.k is not None for request in requests):
            with self.metrics.timed("search"):
                found = self._search(requests, [embeddings[own] for own in rows])
        return [
            Prediction(
                emotions=mixture.emotions,
                faces=request.faces,
                embeddings=embeddings[own],
                distances=distances[own],
                prior=prior,
                posteriors=posteriors[own],
                typicality=typicality[own],
                known=known[own],
                likeliest=likeliest[own],
                intensity=intensity[own],
                quality=list(islice(quality, len(request.faces))),
                covered=list(islice(covered, len(request.faces))),
                sub_classes=names[own],
                sub_class_names=self.bundle.sub_class_names,
                found=near,
            )
            for request, own, prior, near in zip(requests, rows, priors, found, strict=True)
        ]

    def _embed(self, requests: list[InferenceRequest]) -> NDArray[np.float32]:
        """(n, d) embeddings of all faces and points, in their order."""
        crops = [face.crop for request in requests for face in request.faces]
        if not crops:
            return np.concatenate([request.points for request in requests if request.points is not None])
        embedded = self.pipeline.embedder.embed(np.stack(crops))
        self.metrics.batch_faces.observe(len(embedded))
        parts, start = [], 0
        for request in requests:
            if request.points is not None:
                parts.append(request.points)
            else:
                parts.append(embedded[start : start + len(request)])
                start += len(request)
        return np.concatenate(parts)

    def _covered(
        self, requests: list[InferenceRequest], faces: list[Face], embeddings: NDArray[np.float32]
    ) -> list[tuple[Part, ...]]:
        """The parts of each face that are covered; none where the bundle has no test of it."""
        if self.bundle.covering is None or not faces:
            return [()] * len(faces)
        is_face = np.repeat([each.points is None for each in requests], [len(each) for each in requests])
        crops = np.stack([face.crop for face in faces])
        rows = self.bundle.covering.covered(crops, embeddings[is_face]).tolist()
        return [tuple(compress(PARTS, row)) for row in rows]

    def _search(self, requests: list[InferenceRequest], points: list[NDArray[np.float32]]) -> list[list[Found]]:
        """What the gallery has near the points of each request, out of one search for all that ask for the same."""
        found: list[list[Found]] = [[]] * len(requests)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for row, each in enumerate(requests):
            if each.k is not None:
                # A next page is of one point: requests for the same one are searched one by one.
                alone = None if each.options.after is None else row
                groups.setdefault((each.k, each.options, each.photographs, each.summary, alone), []).append(row)
        for group in groups.values():
            near = self._search_points(np.concatenate([points[row] for row in group]), requests[group[0]])
            start = 0
            for row in group:
                found[row] = near[start : start + len(points[row])]
                start += len(points[row])
        return found

    def _search_points(self, points: NDArray[np.float32], request: InferenceRequest) -> list[Found]:
        """What the gallery has near each of (n, d) points; ``request`` says what is asked for."""
        k, options = request.k or 0, request.options
        result = self.gallery.search(points, max(k, request.summary), options)
        photographs: Sequence[list[GalleryMatch] | None] = [None] * len(points)
        if request.photographs:
            passing = _WITH_THUMBNAIL if options.filter is None else AllOf((options.filter, _WITH_THUMBNAIL))
            photographs = self.gallery.search(points, request.photographs, replace(options, filter=passing)).matches
        found = []
        for nearest, pictures in zip(result.matches, photographs, strict=True):
            matches = nearest[:k]
            places = [(match.distance, match.face.id) for match in matches]
            page = next_page(options, result.snapshot, places, exact=result.exact) if places else None
            summary = summarise(nearest[: request.summary]) if request.summary else None
            found.append(Found(matches, page, pictures, summary))
        return found


def load_engine(settings: "Settings", metrics: Metrics | None = None, gallery: GalleryStore | None = None) -> Engine:
    """Load a bundle and everything that predicts from it, and warm it up.

    Args:
        settings: of the service.
        metrics: measure the time of each stage.
        gallery: the writable gallery, where it is open already.

    Raises:
        ArtifactError: a part is missing, broken, or does not fit the others; the gallery cannot be opened.
        ConfigError: the provider is not installed.
    """
    from mien.service.inference.served_gallery import open_store  # with the settings, which mien.load does without

    bundle = load_bundle(settings.bundle)
    if gallery is not None:
        network = bundle.manifest.sha256[EMBEDDER], bundle.mixture.centroids.shape[1]
        check_network(settings.bundle, network, (gallery.embedder_sha256, gallery.embedding_size))
    pipeline = load_pipeline(
        bundle.embedder_path,
        detector=settings.detector,
        limits=settings.decoding_limits,
        max_faces=settings.max_faces,
        threads=settings.threads,
        provider=settings.provider,
    )
    served = gallery or open_store(settings, bundle)
    try:
        engine = Engine(
            bundle, pipeline, settings.max_k, settings.min_typicality, metrics, gallery=served, prior=settings.prior
        )
        engine.warm_up()
    except BaseException:  # also the signal to stop
        if gallery is None:
            served.close()
        raise
    return engine
