"""What people touch: HTTP, settings and the command line."""
