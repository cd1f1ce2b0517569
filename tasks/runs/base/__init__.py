"""Share among all runs: the run itself, plan, tools, self metrics, report."""
