"""Answers of the service, typed: what HTTP sends, what ``mien.Client`` reads and what ``mien.load`` returns."""
