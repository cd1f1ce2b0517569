"""The report on the convergence of trainings."""
