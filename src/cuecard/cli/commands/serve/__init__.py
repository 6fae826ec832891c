"""Commands of the HTTP server."""
