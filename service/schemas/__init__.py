"""What the HTTP interface takes, and how results become answers (``mien.service.answers``)."""
