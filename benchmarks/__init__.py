"""Benchmarks of docs/performance.md: figures are ratios of one run."""
