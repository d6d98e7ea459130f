"""What our server offers to an ASGI application beyond ASGI."""

WRITE = "polychrony.write"
"""Of a scope's extensions: writes frames that are built already, and says whether it could do so at once."""
