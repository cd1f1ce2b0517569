"""Sources of batches: one adapter a module, all of one shape."""
