"""What Prefect sees of a run: its steps as tasks, its artifacts, its progress, its final state."""
