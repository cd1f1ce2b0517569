"""Trainings: their rounds, landed and read back, their clients' names, their files."""
