"""The state database: what is landed and loaded, kept scrapes, and the run locks."""
