"""The tests. Numerical libraries compute in one thread: the arrays are small, and more threads wait for one another."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the first import of torch
