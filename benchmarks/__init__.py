"""Benchmarks of docs/performance.md: each module prints its figures as ratios of one run."""
