"""Where the gallery is searched exactly, as a setting: a module that options can import without FAISS."""

from typing import Literal

Device = Literal["auto", "cpu", "cuda", "require"]
"""Where exact search runs; the words mean what they mean for the network (``mien.model.embedder.provider``)."""
