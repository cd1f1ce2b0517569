"""Judge quarantined values again, and land those that pass."""
