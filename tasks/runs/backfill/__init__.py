"""Backfill of a long window of the past, in threads or on remote workers."""
