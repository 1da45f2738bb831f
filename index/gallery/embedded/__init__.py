"""The embedded gallery: a folder on this machine, with SQLite and FAISS."""
