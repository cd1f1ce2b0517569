"""Long ranges of the past: plan, survey, work in threads or on a cluster, progress."""
