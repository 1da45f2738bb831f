"""The embeddings of a gallery in memory, searched by FAISS while they change."""
