"""The encrypted drive below the `Remote` protocol: its format, its stores and its server."""
