"""Which tests run in the same process, where ``pytest -n`` starts several."""

from functools import cache

from xdist.scheduler import LoadFileScheduling

from tests.support.data import ROOT


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]
    """The tests of a file run in one process, and all files that need Milvus in the same one: it starts one server.

    The groups that pytest-xdist has for this are ignored by pytest 9.2 (pytest-xdist, issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return "milvus" if _needs_milvus(path) else path


@cache
def _needs_milvus(path: str) -> bool:
    text = (ROOT / path).read_text(encoding="utf-8")
    return "mark.milvus" in text or "EACH_IMPLEMENTATION" in text
