"""What every resource has in common: errors, methods, conditional requests."""
