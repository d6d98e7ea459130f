"""HTTP and WebSocket: the server, limits of its protocols, errors."""
