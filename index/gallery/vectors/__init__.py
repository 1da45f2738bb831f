"""The vector index of a gallery in memory, on FAISS, mutable while it is searched."""
