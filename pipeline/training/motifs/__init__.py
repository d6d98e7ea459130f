"""Training of motif banks, on the pixel grid and on addresses."""
