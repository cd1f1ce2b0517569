"""The command line and the Prefect flows: parameters and form of the runs in tasks/runs."""
