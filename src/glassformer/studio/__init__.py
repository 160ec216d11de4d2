"""The studio: a local page on which people look inside their runs, and the HTTP API behind it."""
