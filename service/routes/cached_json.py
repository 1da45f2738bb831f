"""An answer that many are given: written and compressed once."""

import hashlib
import zlib

from pydantic import BaseModel


class Written:
    """An answer as JSON.

    Attributes:
        plain: the bytes.
        packed: the same, as gzip.
        tag: its entity tag.
    """

    def __init__(self, answer: BaseModel) -> None:
        self.plain = answer.model_dump_json().encode()
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: with the head and tail of gzip
        self.packed = packer.compress(self.plain) + packer.flush()
        self.tag = f'"{hashlib.sha256(self.plain).hexdigest()[:16]}"'
