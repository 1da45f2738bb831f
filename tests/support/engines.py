"""Engines that differ from the shipped one in what a test is about."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from mien.index.bundle.manifest import EMBEDDER
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.model.errors import ImageError
from mien.service.inference.engine import Engine, load_engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.settings import Settings

EMBEDDING_SIZE = 64
"""Dimensions of the shipped embedder."""


@contextmanager
def gallery_engine(engine: Engine, folder: Path, max_k: int = 1000) -> Iterator[Engine]:
    """The engine on a writable gallery in a folder, which is closed afterwards."""
    gallery = open_embedded_gallery(folder, EMBEDDING_SIZE, engine.bundle.manifest.sha256[EMBEDDER])
    try:
        yield Engine(engine.bundle, engine.pipeline, max_k=max_k, gallery=gallery)
    finally:
        gallery.close()


@contextmanager
def loaded_engine(settings: Settings) -> Iterator[Engine]:
    """The engine of some settings, whose gallery is closed afterwards."""
    engine = load_engine(settings)
    with closing(engine.gallery):
        yield engine


class SlowEngine(Engine):
    """An engine whose network waits until ``go`` is set; ``begun`` says that it was called."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.bundle, engine.pipeline, engine.max_k)
        self.begun, self.go = threading.Event(), threading.Event()

    def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction | ImageError]:
        self.begun.set()
        assert self.go.wait(20)
        return super().predict(requests)
