"""The pictures that ``verify.py`` sends, made inside the image, as the host may not have Pillow."""

import base64
import json
from typing import Final

from stack import IMAGE, ROOT, run

HOSTILE: Final = ("scans", "tile", "thin", "texts", "webp", "segments")
"""Those of ``tests/support/hostile_pictures.py`` that are made within a second."""

_ENLARGE: Final = """
import sys
from PIL import Image
photo = Image.open(sys.stdin.buffer).convert("RGB")
scale = (float(sys.argv[1]) / (photo.width * photo.height)) ** 0.5
photo.resize((round(photo.width * scale), round(photo.height * scale))).save(sys.stdout.buffer, "JPEG")
"""

_NAMED: Final = f"""
import base64, json
print(json.dumps({{name: base64.b64encode(HOSTILE[name]()).decode() for name in {HOSTILE}}}))
"""


def draw_photo() -> bytes:
    """A picture with one face."""
    return _inside("-", given=_support("cartoon"))


def enlarge(photo: bytes, pixels: float) -> bytes:
    """The same photograph with this many pixels."""
    return _inside("-c", _ENLARGE, str(pixels), given=photo)


def hostile_pictures() -> dict[str, bytes]:
    """Pictures that ask for more than their share, by name."""
    made: dict[str, str] = json.loads(_inside("-", given=_support("hostile_pictures") + _NAMED.encode()))
    return {name: base64.b64decode(picture) for name, picture in made.items()}


def _support(module: str) -> bytes:
    return (ROOT / "tests" / "support" / f"{module}.py").read_bytes()


def _inside(*arguments: str, given: bytes) -> bytes:
    alone = ("--rm", "--interactive", "--network", "none", "--entrypoint", "python")
    return run("docker", "run", *alone, f"{IMAGE}:cpu", *arguments, given=given)
