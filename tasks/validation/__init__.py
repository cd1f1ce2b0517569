"""Runs the suites of /expectations over batches; holds no limits itself."""
