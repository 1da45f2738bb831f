"""Trains the hints of the detector: where a small face would be found if the picture were looked at larger.

Two small convolutions on a map of features that YuNet computes anyway (64 channels, a cell for every 8 pixels). They
learn from YuNet itself: pictures are composed whose faces are 12 to 64 pixels wide, YuNet looks at them at full size,
and its finds there are the labels of the same picture at a quarter to a half of the size.

    python -m mien.model.export.hints ../shared/data/ferplus/FER2013Train BACKGROUNDS yunet.onnx

BACKGROUNDS is a folder of photographs without faces. Those of the network that mien carries were made from 11
photographs that scikit-image 0.26 and scikit-learn 1.9 bring along (motorcycle_left, coffee, chelsea, rocket, brick,
coins, ihc, color, clock_motion, text, china), and 1,050 composed pictures.
"""

import math
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import nn
from torch.nn import functional

from mien.model.faces.candidates import STRIDES, Detection, decode_outputs, merge
from mien.model.faces.detection import YUNET, network_input

FEATURES: Final = "256"
"""Name of the map of features in YuNet's graph: the finest of its pyramid, which the heads of stride 8 read."""

CHANNELS: Final = 64
HIDDEN: Final = 32
SIZE: Final = (960, 736)
"""Width and height of a composed picture."""

SCALES: Final = (0.25, 0.375, 0.5)
"""At what sizes hints are learnt."""

FACE_PX: Final = (12, 64)
FOUND_SCORE: Final = 0.5
IGNORED_SCORE: Final = 0.15
"""Weaker finds of YuNet, and what surrounds a face, are neither faces nor background."""


@dataclass(frozen=True)
class Example:
    """One picture at one scale: (64, h, w) features; (h, w) where there are small faces, and where nothing counts."""

    features: NDArray[np.float16]
    faces: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


class YuNet:
    """The detector with its features."""

    def __init__(self, path: Path) -> None:
        """Load it."""
        import onnx

        network = onnx.load(str(path))
        network.graph.output.append(onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(network.SerializeToString(), options)
        self._names = [output.name for output in self._session.get_outputs()]

    def look(self, picture: Image.Image) -> tuple[list[Detection], NDArray[np.float16]]:
        """Its finds, the weak ones too, and its features."""
        canvas = network_input(picture)
        outputs = dict(zip(self._names, self._session.run(self._names, {"input": canvas}), strict=True))
        finds = merge(decode_outputs(outputs, canvas.shape[3], IGNORED_SCORE))
        return finds, outputs[FEATURES][0].astype(np.float16)


def compose(
    faces: Sequence[Path], backgrounds: Sequence[Path], generator: np.random.Generator
) -> tuple[Image.Image, list[tuple[float, float, float]]]:
    """A picture; and x, y of the middle and width of the small faces in it. Large faces are in it as background."""
    picture = _background(backgrounds, generator)
    placed: list[tuple[float, float, float]] = []
    large = int(generator.integers(1, 3)) if generator.random() < 0.4 else 0
    for number in range(large + int(generator.integers(10, 40))):
        low, high = (110, 450) if number < large else FACE_PX
        width = float(np.exp(generator.uniform(math.log(low), math.log(high))))
        x, y = generator.uniform(0, SIZE[0]), generator.uniform(0, SIZE[1])
        if all(math.dist((x, y), other[:2]) > 1.3 * (width + other[2]) / 2 for other in placed):
            _paste(picture, faces[int(generator.integers(len(faces)))], (x, y), width, generator)
            placed.append((x, y, width))
    if generator.random() < 0.7:
        file = BytesIO()
        picture.save(file, "JPEG", quality=int(generator.integers(50, 96)))
        picture = Image.open(file).convert("RGB")
    return picture, [each for each in placed if each[2] <= FACE_PX[1]]


def _background(files: Sequence[Path], generator: np.random.Generator) -> Image.Image:
    """A photograph, repeated and mirrored; or overlapping discs (dead leaves); or soft blobs. Sharp or out of focus."""
    width, height = SIZE
    kind = generator.random()
    if kind < 0.5:
        with Image.open(files[int(generator.integers(len(files)))]) as opened:
            whole = opened.convert("RGB")
        scale = generator.uniform(0.2, 1.4) * width / whole.width
        tile = np.asarray(whole.resize((max(8, int(whole.width * scale)), max(8, int(whole.height * scale)))))
        counts = (-(-height // tile.shape[0]), -(-width // tile.shape[1]))
        rows, columns = (np.arange(count * side) for count, side in zip(counts, tile.shape[:2], strict=True))
        mirrored = [
            np.where(places // side % 2 == 0, places % side, side - 1 - places % side)
            for places, side in ((rows, tile.shape[0]), (columns, tile.shape[1]))
        ]
        picture = Image.fromarray(tile[np.ix_(*mirrored)][:height, :width])
    elif kind < 0.7:
        picture = Image.new("RGB", SIZE, tuple(generator.integers(0, 255, 3).tolist()))
        draw = ImageDraw.Draw(picture)
        base = generator.integers(0, 256, 3)
        for radius in np.sort((200**-2 + generator.random(2500) * (4**-2 - 200**-2)) ** -0.5)[::-1].tolist():
            x, y = generator.uniform(0, width), generator.uniform(0, height)
            colour = np.clip(base + generator.normal(0, 60) + generator.normal(0, 20, 3), 0, 255).astype(int)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colour.tolist()))
    else:
        blob = np.exp(generator.uniform(math.log(12), math.log(260)))
        cells = (max(2, round(height / blob)), max(2, round(width / blob)))
        light = generator.uniform(30, 220) + generator.normal(0, generator.uniform(8, 60), (*cells, 1))
        colours = np.clip(light + generator.normal(0, generator.uniform(2, 25), (*cells, 3)), 0, 255)
        picture = Image.fromarray(colours.astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    if generator.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(float(np.exp(generator.uniform(0, math.log(20))))))
    pixels = (np.asarray(picture, np.float32) - 128) * generator.uniform(0.5, 1.1) + 128 + generator.uniform(-30, 30)
    pixels += generator.normal(0, generator.uniform(0, 6), (height, width, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _paste(
    picture: Image.Image, file: Path, place: tuple[float, float], width: float, generator: np.random.Generator
) -> None:
    """Paste a face crop, of which the face is four fifths as wide, turned, tinted and with a soft border."""
    with Image.open(file) as opened:
        grey = np.asarray(opened.convert("L"), np.float32)
    levels = (grey - 128) * generator.uniform(0.35, 1.1) + 128 + generator.uniform(-60, 50)
    tint = np.array([generator.uniform(0.9, 1.25), 1, generator.uniform(0.55, 1)])
    face = Image.fromarray(np.clip(levels[:, :, np.newaxis] * tint, 0, 255).astype(np.uint8))
    side = max(8, round(width / 0.8))
    face = face.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((side * 0.05, 0, side * 0.95, side), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(side * 0.04))
    turn = generator.uniform(-30, 30)
    face, mask = (each.rotate(turn, Image.Resampling.BICUBIC) for each in (face, mask))
    picture.paste(face, (round(place[0] - side / 2), round(place[1] - side / 2)), mask)


def examples(
    yunet: YuNet, faces: Sequence[Path], backgrounds: Sequence[Path], pictures: int, seed: int
) -> Iterator[Example]:
    """One example for each picture and each of ``SCALES``, in this order."""
    for number in range(pictures):
        picture, placed = compose(faces, backgrounds, np.random.default_rng([seed, number]))
        finds, _ = yunet.look(picture)
        small = [find.box for find in finds if find.box[2] < FACE_PX[1] * 1.2]
        around = [(x, y, width, width) for x, y, width in placed]
        around += [(x + w / 2, y + h / 2, w, h) for x, y, w, h in small]
        labels = [find for find in finds if find.score >= FOUND_SCORE and find.box in small]
        for scale in SCALES:
            _, features = yunet.look(picture.resize((round(SIZE[0] * scale), round(SIZE[1] * scale))))
            cell = STRIDES[0] / scale
            y, x = ((np.arange(count) + 0.5) * cell for count in features.shape[1:])
            ignored = (y[:, np.newaxis] > SIZE[1]) | (x > SIZE[0])
            for left, top, width, height in around:
                ignored |= _near(x - left, width + cell) & _near(y - top, height * 1.2 + cell)[:, np.newaxis]
            found = np.zeros_like(ignored)
            for left, top, width, height in (find.box for find in labels):
                across = _near(x - left - width / 2, max(width * 0.3, cell / 2))
                found |= across & _near(y - top - height / 2, max(height * 0.3, cell / 2))[:, np.newaxis]
            yield Example(features, found, ignored & ~found)


def _near(distances: NDArray[np.floating], limit: float) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = np.abs(distances) <= limit
    return near


def train(data: Sequence[Example], steps: int, seed: int, batch: int = 8) -> nn.Sequential:
    """Learn hints: (n, 64, h, w) features to (n, 1, h, w) logits."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    every = np.concatenate([each.features.reshape(CHANNELS, -1)[:, ::9] for each in data], axis=1).astype(np.float32)
    mean, deviation = torch.tensor(every.mean(axis=1)), torch.tensor(every.std(axis=1) + 0.01)
    hidden = nn.Conv2d(CHANNELS, HIDDEN, 1)
    network = nn.Sequential(hidden, nn.ReLU(), nn.Conv2d(HIDDEN, 1, 3, padding=1))
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    for step in range(steps):
        rate = 4e-3 * min(1, (step + 1) / 50) * (1 - step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        scale = step % len(SCALES)
        chosen = [
            data[int(row) * len(SCALES) + scale] for row in generator.integers(len(data) // len(SCALES), size=batch)
        ]
        features = torch.tensor(np.stack([each.features for each in chosen]).astype(np.float32))
        faces = torch.tensor(np.stack([each.faces for each in chosen]))[:, None].float()
        counted = ~torch.tensor(np.stack([each.ignored for each in chosen]))[:, None]
        logits = network((features - mean[:, None, None]) / deviation[:, None, None])
        losses = functional.binary_cross_entropy_with_logits(logits, faces, reduction="none")
        loss = (losses * counted * (1 + 2 * faces)).sum() / counted.sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():  # the features as they are: their mean and deviation go into the weights
        hidden.weight /= deviation[:, None, None]
        shift = (hidden.weight * mean[:, None, None]).sum(dim=(1, 2, 3))
        hidden.bias = nn.Parameter(hidden.bias - shift if hidden.bias is not None else -shift)
    return network


def remove_hints(detector: Any) -> None:
    """Remove the output ``hints`` from an ONNX network, and what computes it."""
    for part in (detector.graph.node, detector.graph.initializer, detector.graph.output):
        for old in [each for each in part if each.name.startswith("hints")]:
            part.remove(old)


def attach(source: Path, network: nn.Sequential, target: Path) -> None:
    """Write the detector of ``source`` to ``target`` with the output ``hints``."""
    import onnx
    from onnx import helper, numpy_helper

    detector = onnx.load(str(source))
    remove_hints(detector)
    tensors = [tensor.detach().numpy() for tensor in network.parameters()]
    names = ["hints.0.weight", "hints.0.bias", "hints.1.weight", "hints.1.bias"]
    detector.graph.initializer.extend(map(numpy_helper.from_array, tensors, names))
    detector.graph.node.extend(
        [
            helper.make_node("Conv", [FEATURES, *names[:2]], ["hints.0"], "hints.0"),
            helper.make_node("Relu", ["hints.0"], ["hints.relu"], "hints.relu"),
            helper.make_node("Conv", ["hints.relu", *names[2:]], ["hints"], "hints.1", pads=[1, 1, 1, 1]),
        ]
    )
    shape: list[str | int | None] = [1, 1, "rows", "columns"]
    detector.graph.output.append(helper.make_tensor_value_info("hints", onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(detector, full_check=True)
    onnx.save(detector, str(target))


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="folder of face crops: FER2013Train")
    parser.add_argument("backgrounds", type=Path, help="folder of photographs without faces")
    parser.add_argument("target", type=Path, help="the detector with hints")
    parser.add_argument("--source", type=Path, default=YUNET, help="the detector (default: that of mien)")
    parser.add_argument("--pictures", type=int, default=1050, help="composed pictures (default: 1050)")
    parser.add_argument("--steps", type=int, default=4000, help="of the optimiser (default: 4000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    crops = sorted(arguments.faces.glob("*.png"))
    photographs = sorted(file for file in arguments.backgrounds.iterdir() if file.suffix in (".jpg", ".png"))
    composed = list(examples(YuNet(arguments.source), crops, photographs, arguments.pictures, arguments.seed))
    attach(arguments.source, train(composed, arguments.steps, arguments.seed), arguments.target)
