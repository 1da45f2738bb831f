"""The metrics of the evaluation protocol, their intervals and plots."""
