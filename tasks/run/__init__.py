"""A run: its plan, its tools, the rounds of chunks, what it tells and reports."""
