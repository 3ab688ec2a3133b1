"""The drive over HTTP: what crosses it, and the client of a server."""
