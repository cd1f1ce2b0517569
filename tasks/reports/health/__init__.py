"""The status page of health checks."""
