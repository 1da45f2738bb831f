"""``mien gallery`` and its sub-commands."""
