"""Galleries: the faces that a query is compared with."""
