"""The package fer behind FastAPI, in the simplest way. Runs in its own environment; for ``load.py``.

    python3 -m venv fer && fer/bin/pip install --no-deps fer
    fer/bin/pip install tensorflow-cpu "opencv-python-headless<5" pandas fastapi uvicorn python-multipart

Its dependencies for video are not installed, and their imports are replaced by empty modules.
"""

import sys
import types
from typing import Any

for name in ("moviepy", "moviepy.editor", "ffmpeg", "facenet_pytorch"):  # of fer.Video, which is not used
    sys.modules.setdefault(name, types.ModuleType(name))
sys.modules["facenet_pytorch"].MTCNN = None  # type: ignore[attr-defined]
sys.modules["moviepy.editor"].VideoFileClip = None  # type: ignore[attr-defined]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import uvicorn  # noqa: E402
from fastapi import FastAPI, UploadFile  # noqa: E402
from fer.fer import FER  # noqa: E402

app = FastAPI()
detector = FER(mtcnn=False)


@app.post("/classify")
async def classify(image: UploadFile, already_cropped: bool = False) -> list[dict[str, Any]]:  # noqa: FBT001, FBT002
    """Name the emotion of each face; one request at a time, as its interpreter is not thread-safe."""
    picture: Any = cv2.imdecode(np.frombuffer(await image.read(), np.uint8), cv2.IMREAD_COLOR)
    height, width = picture.shape[:2]
    boxes = [(0, 0, width, height)] if already_cropped else None
    return [
        {"box": [int(side) for side in face["box"]], "emotions": {k: float(v) for k, v in face["emotions"].items()}}
        for face in detector.detect_emotions(picture, face_rectangles=boxes)
    ]


@app.get("/health/ready")
def ready() -> None:
    """Answer 200 once the server listens."""


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[-1]), log_level="error")
