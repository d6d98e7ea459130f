"""Training of the motion field's readout, and its scores."""
