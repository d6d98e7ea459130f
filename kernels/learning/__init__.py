"""What trains banks and networks."""
