"""Read a long stretch of the past, in threads or on remote workers."""
