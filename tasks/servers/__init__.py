"""Long-lived servers of ours, and their supervisor."""
