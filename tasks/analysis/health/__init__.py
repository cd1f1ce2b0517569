"""Mathematics of health checks: pure, no I/O."""
