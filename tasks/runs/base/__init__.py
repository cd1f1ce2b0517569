"""Shared parts of all runs: the run itself, plan, tools, self metrics, report."""
