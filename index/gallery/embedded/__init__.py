"""The embedded gallery: a folder on this machine, with SQLite as its durable truth."""
