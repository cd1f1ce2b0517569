"""What a run does, step by step: one module for each kind of run."""
