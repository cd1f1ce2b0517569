"""Build, check, push, import, adopt and evaluate the thresholds."""
