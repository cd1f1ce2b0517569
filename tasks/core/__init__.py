"""Core types: cells, windows, batches, the catalogue, settings, errors, receipts."""
