"""What every request passes before its route: log, authentication, rates, load shedding."""
