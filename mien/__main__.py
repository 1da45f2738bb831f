"""``python -m mien``: the command ``mien``."""

import sys

from mien.service.cli import main

sys.exit(main())
