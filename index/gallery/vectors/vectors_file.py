"""The vectors file: embeddings of a gallery as they lie in memory, so that a restart need not read the database.

It shows one moment of the database. What was written later is read from the database, and a broken file is made again.
It is mapped into memory, so that several processes share one copy.

    header      4096 bytes: JSON, padded with zeros
    sequences   (n,) int64, padded to a multiple of 4096 bytes
    embeddings  (n, d) float32
"""

import json
import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError
from mien.model.files import write_atomically

FORMAT_VERSION: Final = 1

_PAGE: Final = 4096
_MAGIC: Final = "mien residents"
_ROWS_AT_ONCE: Final = 65_536


@dataclass(frozen=True)
class VectorsFile:
    """The content of a vectors file.

    Attributes:
        generation: of the database it was made from.
        counter: of the database at that moment.
        sequences: (n,) int64, ascending.
        embeddings: (n, d) float32; writing into it changes no file.
    """

    generation: str
    counter: int
    sequences: NDArray[np.int64]
    embeddings: NDArray[np.float32]

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        sequences = self.sequences.astype("<i8").tobytes()
        sequences += bytes(-len(sequences) % _PAGE)
        checksum = zlib.crc32(sequences)
        for part in self._parts():
            checksum = zlib.crc32(part, checksum)
        header = {
            "magic": _MAGIC,
            "format_version": FORMAT_VERSION,
            "generation": self.generation,
            "counter": self.counter,
            "faces": len(self.sequences),
            "embedding_size": self.embeddings.shape[1],
            "crc32": checksum,
        }
        with write_atomically(path, private=True) as file:
            file.write(json.dumps(header).encode().ljust(_PAGE, b"\0"))
            file.write(sequences)
            for part in self._parts():
                file.write(part)

    @classmethod
    def read(cls, path: Path) -> "VectorsFile":
        """Map a file into memory.

        Raises:
            GalleryError: it is broken, or of another version.
            FileNotFoundError: there is none.
        """
        with path.open("rb") as file:
            try:
                header = json.loads(file.read(_PAGE).rstrip(b"\0"))
                if header["magic"] != _MAGIC or header["format_version"] != FORMAT_VERSION:
                    raise GalleryError(f"{path} has another format version than {FORMAT_VERSION}")
                count, size = int(header["faces"]), int(header["embedding_size"])
                start = _PAGE + count * 8 + (-count * 8) % _PAGE
                length = start + count * size * 4
                if path.stat().st_size != length:
                    raise GalleryError(f"{path} must have {length} bytes, got {path.stat().st_size}")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                if zlib.crc32(memoryview(mapped)[_PAGE:]) != header["crc32"]:
                    raise GalleryError(f"{path} is damaged: its checksum is wrong")
                sequences = np.frombuffer(mapped, dtype="<i8", count=count, offset=_PAGE)
                embeddings = np.frombuffer(mapped, dtype="<f4", count=count * size, offset=start).reshape(count, size)
                return cls(str(header["generation"]), int(header["counter"]), sequences, embeddings)
            except (ValueError, KeyError, TypeError) as error:
                raise GalleryError(f"{path} is broken: {error}") from None

    def _parts(self) -> Iterator[bytes]:
        for start in range(0, len(self.embeddings), _ROWS_AT_ONCE):
            yield self.embeddings[start : start + _ROWS_AT_ONCE].astype("<f4").tobytes()
