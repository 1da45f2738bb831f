"""The engine: reads faces out of images, embeds them, names their emotions and searches the gallery.

It knows neither HTTP nor JSON: it takes requests and gives predictions (``mien.service.inference.prediction``), which
``mien.service.schemas`` turns into answers. Its two steps are separate, so that the service can detect the faces of one
image at a time (``read_faces``) and predict those of several requests together (``predict``).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle, check_fits, load_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.errors import QueryError
from mien.index.gallery.cursor import next_page
from mien.index.gallery.fixed_gallery import Entry, Match
from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.shipped import ShippedGallery
from mien.index.gallery.store import EVERYTHING, GalleryStore, SearchOptions
from mien.index.gallery.validation import check_network
from mien.index.mixture.labelling import sub_class_ids
from mien.model.emotions import EmotionPrior
from mien.model.errors import ImageError
from mien.model.faces.quality import measure_quality
from mien.model.faces.reader import Face, whole_face
from mien.model.pipeline import Pipeline, load_pipeline
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.inference.served_gallery import open_store
from mien.service.operation.metrics import Metrics
from mien.service.settings import Settings

_Matches = tuple[list[list[Match]], list[SearchOptions | None]]
"""Matches of each face of one request, and the options of each one's next page."""


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

    def check_k(self, k: int) -> None:
        """Check a number of matches.

        Raises:
            QueryError: it is below 1 or above ``max_k``.
        """
        if not 1 <= k <= self.max_k:
            raise QueryError(f"k must be from 1 to {self.max_k}, got {k}")

    def read_faces(
        self, image: bytes | NDArray[np.uint8], *, already_cropped: bool, max_faces: int | None = None
    ) -> list[Face]:
        """Read the faces of an image, a file or (h, w, 3) uint8 RGB, largest first; boxes in pixels of the picture.

        Raises:
            ImageError: the image cannot be used, or has no face.
        """
        faces = self.pipeline.read_faces(image, already_cropped=already_cropped, timed=self.metrics.timed)
        self.metrics.faces_per_image.observe(len(faces))
        return faces[:max_faces]

    def detect(self, image: NDArray[np.uint8], *, already_cropped: bool, max_faces: int | None = None) -> list[Face]:
        """Detect the faces of a decoded image, largest first; empty when there is none.

        Args:
            image: (h, w, 3) uint8 RGB, upright.
            already_cropped: the whole image is one face.
            max_faces: the largest faces that are returned; None returns all that the pipeline reads.
        """
        if already_cropped:
            return [whole_face(image)]
        with self.metrics.timed("detect"):
            faces = self.pipeline.crop_faces(image)
        self.metrics.faces_per_image.observe(len(faces))
        return faces[:max_faces]

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
            quality = iter(measure_quality([face for request in requests for face in request.faces]))
            names = sub_class_ids(self.bundle.sub_classes, embeddings, likeliest)
        matches: list[_Matches] = [([], [])] * len(requests)
        if any(request.k is not None for request in requests):
            with self.metrics.timed("search"):
                matches = self._search(requests, [embeddings[own] for own in rows])
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
                sub_classes=names[own],
                sub_class_names=self.bundle.sub_class_names,
                matches=found,
                next_pages=next_pages,
            )
            for request, own, prior, (found, next_pages) in zip(requests, rows, priors, matches, strict=True)
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

    def _search(self, requests: list[InferenceRequest], points: list[NDArray[np.float32]]) -> list[_Matches]:
        """The matches of each request, out of one search for all that have the same k and options."""
        matches: list[_Matches] = [([], [])] * len(requests)
        for k, options in dict.fromkeys((each.k, each.options) for each in requests):
            if k is None:
                continue
            same = [row for row, each in enumerate(requests) if (each.k, each.options) == (k, options)]
            # A next page is of one point: requests for the same one are searched one by one.
            for group in [[row] for row in same] if options.after is not None else [same]:
                found, next_pages = self._search_points(np.concatenate([points[row] for row in group]), k, options)
                start = 0
                for row in group:
                    end = start + len(points[row])
                    matches[row] = found[start:end], next_pages[start:end]
                    start = end
        return matches

    def _search_points(self, points: NDArray[np.float32], k: int, options: SearchOptions) -> _Matches:
        if self.serves_shipped and options == EVERYTHING:  # shorter than through the gallery's filters
            found, snapshot, exact = self.bundle.gallery.search(points, k), len(self.bundle.gallery), True
        else:
            result = self.gallery.search(points, k, options)
            found = [[_match(each) for each in matches] for matches in result.matches]
            snapshot, exact = result.snapshot, result.exact
        places = ([(match.distance, match.entry.id) for match in matches] for matches in found)
        return found, [next_page(options, snapshot, each, exact=exact) if each else None for each in places]


def _match(found: GalleryMatch) -> Match:
    face = found.face
    emotion = face.label or face.emotion or ""
    return Match(Entry(face.id, emotion, dict(face.metadata), face.subject, face.sub_class), found.distance)


def load_engine(settings: Settings, metrics: Metrics | None = None, gallery: GalleryStore | None = None) -> Engine:
    """Load a bundle and everything that predicts from it, and warm it up.

    Args:
        settings: of the service.
        metrics: measure the time of each stage.
        gallery: the writable gallery, where it is open already.

    Raises:
        ArtifactError: a part is missing, broken, or does not fit the others; the gallery cannot be opened.
        ConfigError: the provider is not installed.
    """
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
    if gallery is None:
        gallery = open_store(settings, bundle)
    engine = Engine(
        bundle, pipeline, settings.max_k, settings.min_typicality, metrics, gallery=gallery, prior=settings.prior
    )
    engine.warm_up()
    return engine
