"""A plain FastAPI handler around the same network, without queue or batches; for ``load.py``."""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.mixture.mixture import posterior_from
from mien.model.pipeline import load_pipeline

app = FastAPI()
bundle = load_bundle(default_bundle())
pipeline = load_pipeline(bundle.embedder_path, provider="cpu")


@app.post("/classify")
def classify(image: UploadFile, already_cropped: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002
    """Name the emotion of each face."""
    faces = pipeline.read_faces(image.file.read(), already_cropped=already_cropped)
    distances = bundle.mixture.distances(pipeline.embed(faces))
    posteriors = posterior_from(distances, bundle.mixture.sigma)
    return {
        "faces": [
            {
                "box": face.box,
                "emotion": bundle.mixture.emotions[int(distances[row].argmin())],
                "posterior": posteriors[row].tolist(),
            }
            for row, face in enumerate(faces)
        ]
    }


@app.get("/health/ready")
def ready() -> None:
    """Answer 200 once the server listens."""


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[-1]), log_level="error")
