"""Proposes a catalogue and suites for a Prometheus that nobody has described yet."""
