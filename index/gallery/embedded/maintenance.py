"""What goes on beside the requests to an embedded gallery: following other processes, and keeping the index merged."""

import logging
import threading
import time
from typing import Final

import numpy as np

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.memory import GalleryMemory
from mien.index.gallery.vectors.ivf import Cells

_POLL_S: Final = 0.2
_INDEX_ENDS_S: Final = 5.0
_WORTH_SAVING: Final = 10_000
"""Faces that a start reads from the database quickly enough."""

_log = logging.getLogger(__name__)


class GalleryUpkeep:
    """Two threads, until they are stopped."""

    def __init__(self, memory: GalleryMemory, database: GalleryDatabase) -> None:
        """Start them."""
        self._memory = memory
        self._database = database
        self._merging = threading.Lock()
        self._stopping = threading.Event()
        self._merge_wanted = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, daemon=True, name="gallery changes"),
            threading.Thread(target=self._keep_merged, daemon=True, name="gallery index"),
        ]
        self.consider_merging()
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Return once no merge is wanted or under way."""
        while self._merge_wanted.is_set() or self._merging.locked():
            time.sleep(0.01)

    def stop(self) -> None:
        """End both, and write the resident file where the next start would miss it."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._merge_wanted.set()
        self._threads[0].join()
        self._threads[1].join(_INDEX_ENDS_S)  # it may be at cells that nobody waits for any more
        seen, unsaved = self._memory.seen, self._memory.unsaved
        if unsaved > _WORTH_SAVING or (unsaved > 0 and seen > _WORTH_SAVING):
            self._memory.save()

    def consider_merging(self) -> None:
        """Have tail, holes and base merged, where they have become many."""
        residents, policy = self._memory.residents, self._memory.policy
        base = len(residents) + residents.holes - residents.tail_faces
        most = max(policy.tail, int(policy.tail_share * base))
        cells = residents.view().cells is not None
        if residents.tail_faces > most or residents.holes > most or policy.wants_cells(base) != cells:
            self._merge_wanted.set()

    def _follow(self) -> None:
        """Look for what other processes have written, until the gallery is closed."""
        with self._database.reading(moment=False) as connection:
            before = None
            while not self._stopping.wait(_POLL_S):
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if version != before:
                    try:
                        self._memory.look()
                        before = version
                    except GalleryError as error:
                        _log.warning("changes of other processes could not be read: %s", error)
                self.consider_merging()

    def _keep_merged(self) -> None:
        """Merge tail, holes and base in the background, until the gallery is closed."""
        while True:
            self._merge_wanted.wait()
            if self._stopping.is_set():
                return
            with self._merging:
                self._merge_wanted.clear()
                try:
                    self._merge()
                except GalleryError as error:
                    _log.warning("the index of %s was not rebuilt: %s", self._memory.folder, error)

    def _merge(self) -> None:
        residents = self._memory.residents
        view = residents.view()
        kept = np.flatnonzero(view.alive)
        base = view.embeddings(kept)
        cells = Cells.made(base) if self._memory.policy.wants_cells(len(base)) else None
        if self._stopping.is_set():
            return
        with self._database.lock:
            if self._memory.residents is residents:
                self._memory.residents = residents.merged(kept, len(view), base, cells)
        if self._memory.unsaved > _WORTH_SAVING or cells is not None:
            self._memory.save()
