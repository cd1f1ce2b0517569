"""Scaffold of a configuration from the services' own data."""
