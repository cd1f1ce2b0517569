"""The history of a training, from the lake or from files."""
