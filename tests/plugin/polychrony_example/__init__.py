"""A stage, a file format and a live source that Polychrony does not have."""
