"""The flows of Prefect and the command line: parameters and form of what tasks/runs does."""
