"""Scaffold a configuration from what the services give."""
