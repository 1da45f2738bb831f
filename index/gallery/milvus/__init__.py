"""The distributed gallery: a collection of a Milvus server."""
