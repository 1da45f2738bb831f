"""How many threads a search takes."""

import faiss


def search_single_threaded() -> None:
    """Let the searches of the calling thread run in it alone.

    OpenMP keeps this number for each thread of its own, and by default each would bring a team as large as the machine.
    """
    faiss.omp_set_num_threads(1)
