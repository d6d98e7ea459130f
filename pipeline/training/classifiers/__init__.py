"""Training of spiking, Delta and reservoir classifiers."""
