"""The distributed gallery, in Milvus."""
