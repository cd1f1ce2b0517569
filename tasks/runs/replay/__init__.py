"""Load what is landed into a sink again."""
