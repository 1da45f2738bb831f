"""What the HTTP interface takes and answers."""
