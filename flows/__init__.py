"""The command line and Prefect flows: parameters and form of tasks/runs."""
