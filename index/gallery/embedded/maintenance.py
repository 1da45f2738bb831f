"""The background work of an embedded gallery.

What other processes write is read, what was deleted is removed from files, and the vectors are merged.
"""

import logging
import sqlite3
import threading
import time
from typing import Final

import numpy as np

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.memory import GalleryMemory
from mien.index.gallery.vectors.ivf import IvfIndex

_POLL_S: Final = 0.2
_JOIN_S: Final = 5.0
_MIN_CHANGES_TO_SAVE: Final = 10_000
"""A start reads fewer changes from the database quickly enough."""

_SCRUB_AGAIN_S: Final = 5.0
"""After somebody was reading from the write-ahead log; an attempt holds up writers for a moment."""

_SCRUB_EVERY_S: Final = 1.0
"""At most so often while faces are changed one after the other."""

_SAVE_AGAIN_S: Final = 30.0
"""How often the vectors file is written because it has deleted faces."""

_log = logging.getLogger(__name__)


class Maintenance:
    """Two threads, which run until ``stop``."""

    def __init__(self, memory: GalleryMemory, database: GalleryDatabase, *, check_rows: bool) -> None:
        """Start the threads; the first sets damaged rows aside before anything else if it is to ``check_rows``."""
        self._check_rows = check_rows
        self._memory = memory
        self._database = database
        self._merging = threading.Lock()
        self._stopping = threading.Event()
        self._merge_needed = threading.Event()
        self._scrub_at = self._save_at = time.monotonic()
        self._threads = [
            threading.Thread(target=self._follow_changes, daemon=True, name="gallery changes"),
            threading.Thread(target=self._merge_when_needed, daemon=True, name="gallery index"),
        ]
        self.consider_merging()
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Return once no merge is needed or running."""
        while self._merge_needed.is_set() or self._merging.locked():
            time.sleep(0.01)

    def stop(self) -> None:
        """End the threads, and write the vectors file if it would make the next start quicker."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._merge_needed.set()
        self._threads[0].join()
        self._threads[1].join(_JOIN_S)  # it may be building an index that is not needed any more
        seen, unsaved = self._memory.seen, self._memory.unsaved
        if self._memory.file_has_deleted or unsaved > _MIN_CHANGES_TO_SAVE or (unsaved and seen > _MIN_CHANGES_TO_SAVE):
            self._memory.save()

    def consider_merging(self) -> None:
        """Start a merge if the growing segment or the tombstones have become many, or the kind of index changes."""
        vectors, policy = self._memory.vectors, self._memory.policy
        sealed = vectors.sealed_count
        has_ivf = vectors.view().ivf is not None
        if policy.needs_merge(sealed, vectors.growing_count, vectors.tombstones) or policy.needs_ivf(sealed) != has_ivf:
            self._merge_needed.set()

    def _follow_changes(self) -> None:
        with self._database.reading(moment=False) as connection:
            before, failure = None, ""
            while not self._stopping.wait(_POLL_S):
                try:
                    self._database.check_open()
                    if self._check_rows:
                        self._check_rows = False
                        self._memory.set_aside_damaged()
                    (version,) = connection.execute("PRAGMA data_version").fetchone()
                    if version != before:
                        self._memory.refresh()
                        before = version
                    self._remove_deleted()
                    failure = ""
                except (GalleryError, sqlite3.Error) as error:
                    if str(error) != failure:  # once, not several times a second
                        failure = str(error)
                        _log.error("the gallery cannot be followed: %s", error)
                self.consider_merging()

    def _remove_deleted(self) -> None:
        """Remove deleted faces from the write-ahead log and the vectors file, where they still are."""
        now = time.monotonic()
        if self._database.to_scrub and now >= self._scrub_at:
            self._database.scrub()
            self._scrub_at = now + (_SCRUB_AGAIN_S if self._database.to_scrub else _SCRUB_EVERY_S)
        if self._memory.file_has_deleted and now >= self._save_at:
            self._save_at = now + _SAVE_AGAIN_S
            self._memory.save()

    def _merge_when_needed(self) -> None:
        while True:
            self._merge_needed.wait()
            if self._stopping.is_set():
                return
            with self._merging:
                self._merge_needed.clear()
                try:
                    self._merge()
                except GalleryError as error:
                    _log.warning("the index of %s was not rebuilt: %s", self._memory.folder, error)

    def _merge(self) -> None:
        vectors = self._memory.vectors
        view = vectors.view()
        alive = np.flatnonzero(view.alive)
        sealed = view.embeddings(alive)
        ivf = IvfIndex.build(sealed) if self._memory.policy.needs_ivf(len(sealed)) else None
        if self._stopping.is_set():
            return
        with self._database.lock:
            if self._memory.vectors is vectors:
                self._memory.vectors = vectors.merge(alive, len(view), sealed, ivf)
        if self._memory.unsaved > _MIN_CHANGES_TO_SAVE or ivf is not None:
            self._memory.save()
