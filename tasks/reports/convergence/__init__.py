"""Report on the convergence of trainings."""
