"""The way of a chunk: due, extract, validate, merge, land, load."""
