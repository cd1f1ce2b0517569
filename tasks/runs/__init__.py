"""Hold the contents of each run in plain Python: one module or package per kind."""
