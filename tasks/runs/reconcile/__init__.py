"""Compare a sink with the lake, and fix what differs."""
