"""Validation of batches by the suites in /expectations; holds no limits itself."""
