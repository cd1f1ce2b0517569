"""Formats of run files; every reader raises RunFileInvalid with the position."""
