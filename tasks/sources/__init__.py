"""Where batches come from: one adapter, one module, one shape."""
