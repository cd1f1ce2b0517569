"""Prefect's view of a run: steps as tasks, artifacts, progress, final state."""
