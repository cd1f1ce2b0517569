"""What docs/performance.md is made from: each module prints its figures as ratios of one run."""
