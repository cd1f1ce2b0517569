"""Incidents: from a notice to the messages about it, in one transaction each."""
