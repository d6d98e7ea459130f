"""Client for the Polychrony service."""

__version__ = "0.1.0"
