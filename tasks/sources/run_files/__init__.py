"""Training runs from files that nobody prepared: one module a format, one record for all."""
