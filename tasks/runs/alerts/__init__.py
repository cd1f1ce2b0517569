"""The run `alerts`, and what keeps incidents up to date."""
