"""The engine: what is served, without the protocol it is served over."""

import numpy as np

from index.bundle import Bundle, check_fits, load_bundle
from index.mixture import posterior_from
from model.errors import QueryError
from model.pipeline import Pipeline, load_pipeline
from service.schemas import Classification, ClassifiedFace, FoundMatch, Retrieval, RetrievedFace
from service.settings import Settings


class Engine:
    """Answers about images, from one bundle. Thread-safe."""

    def __init__(self, bundle: Bundle, pipeline: Pipeline, max_k: int, min_typicality: float | None = None) -> None:
        """Put the parts together.

        Args:
            bundle: what is served.
            pipeline: with the bundle's embedder.
            max_k: most matches that a query may ask for.
            min_typicality: faces that are less typical show no known expression; None leaves it to the bundle.

        Raises:
            BundleError: the pipeline's embedder is not the one of the bundle.
        """
        check_fits(bundle, pipeline.embedder)
        self.bundle = bundle
        self.pipeline = pipeline
        self.max_k = max_k
        self.min_typicality = bundle.mixture.min_typicality if min_typicality is None else min_typicality

    def warm_up(self) -> None:
        """Run every part once, so that the first request is as fast as the others."""
        blank = np.full((240, 320, 3), 127, dtype=np.uint8)
        self.pipeline.finder.find(blank)
        embeddings = self.pipeline.embedder.embed(self.pipeline.finder.whole(blank).crop[None])
        self.bundle.mixture.typicality(embeddings)
        self.bundle.gallery.search(embeddings, 1)

    def classify(self, data: bytes, *, already_cropped: bool) -> Classification:
        """The emotion of each face of an image.

        Raises:
            ImageError: the image cannot be used, or has no face.
        """
        embedded = self.pipeline.embed(data, already_cropped=already_cropped)
        mixture = self.bundle.mixture
        distances = mixture.distances(embedded.embeddings)
        posteriors = posterior_from(distances, mixture.sigma)
        typical = mixture.typicality(embedded.embeddings)
        nearest = distances.argmin(axis=1)
        return Classification(
            faces=[
                ClassifiedFace(
                    box=face.box,
                    detection=face.detection,
                    emotion=mixture.emotions[nearest[row]],
                    posterior=dict(zip(mixture.emotions, posteriors[row].tolist(), strict=True)),
                    distance=distances[row, nearest[row]],
                    typicality=typical[row],
                    known=bool(typical[row] >= self.min_typicality),
                )
                for row, face in enumerate(embedded.faces)
            ]
        )

    def retrieve(self, data: bytes, *, k: int, already_cropped: bool) -> Retrieval:
        """The k nearest expressions of the gallery for each face of an image.

        Raises:
            QueryError: k is out of range.
            ImageError: the image cannot be used, or has no face.
        """
        if not 1 <= k <= self.max_k:
            raise QueryError(f"k should be from 1 to {self.max_k}, got {k}")
        embedded = self.pipeline.embed(data, already_cropped=already_cropped)
        mixture = self.bundle.mixture
        nearest = mixture.distances(embedded.embeddings).argmin(axis=1)
        found = self.bundle.gallery.search(embedded.embeddings, k)
        return Retrieval(
            faces=[
                RetrievedFace(
                    box=face.box,
                    detection=face.detection,
                    emotion=mixture.emotions[nearest[row]],
                    matches=[
                        FoundMatch(
                            id=match.entry.id,
                            distance=match.distance,
                            emotion=match.entry.emotion,
                            metadata=match.entry.metadata,
                        )
                        for match in found[row]
                    ],
                )
                for row, face in enumerate(embedded.faces)
            ]
        )


def load_engine(settings: Settings) -> Engine:
    """Load a bundle with everything that answers from it, and warm it up.

    Raises:
        ArtifactError: a part is missing, broken, or does not fit the others.
        ConfigError: the provider is not installed.
    """
    bundle = load_bundle(settings.bundle)
    pipeline = load_pipeline(
        bundle.embedder_path,
        detector=settings.detector,
        limits=settings.decoding_limits,
        max_faces=settings.max_faces,
        threads=settings.threads,
        provider=settings.provider,
    )
    engine = Engine(bundle, pipeline, settings.max_k, settings.min_typicality)
    engine.warm_up()
    return engine
