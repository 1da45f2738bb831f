"""One score a file: from labels, posteriors, ranks or distances to figures."""
