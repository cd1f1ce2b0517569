"""Take a chunk all the way: due, extract, validate, merge, land, load."""
