"""Retry of quarantined values, which lands those that pass."""
