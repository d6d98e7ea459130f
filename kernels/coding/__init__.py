"""Bytes of cameras and of the wire, and the order of events."""
