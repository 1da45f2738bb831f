"""Typed answers, the same from a service (``mien.Client``) and from this process (``mien.load``)."""
