"""Burn rates without I/O: tiers, rules, counting of events, and the state of an SLO."""
