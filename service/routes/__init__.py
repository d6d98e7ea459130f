"""What the service answers, one resource a file."""
