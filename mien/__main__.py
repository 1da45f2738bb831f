"""``python -m mien``: the command ``mien``."""

import sys

from mien.service.commands.main import main

sys.exit(main())
