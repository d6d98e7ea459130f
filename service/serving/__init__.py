"""HTTP and WebSocket: the server, and limits of its protocols."""
