"""What keeps the service fit: readiness, figures, the checks of `polychrony doctor`."""
