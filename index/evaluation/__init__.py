"""The evaluation protocol: which faces are scored, what on (``scores/``), tables and plots."""
