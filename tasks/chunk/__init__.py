"""The way of one chunk: what work is made of, landing, merging, loading."""
