"""The steps of each run in plain Python: one module or package per kind of run."""
