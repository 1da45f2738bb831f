"""Logs, metrics, traces, and several processes."""
