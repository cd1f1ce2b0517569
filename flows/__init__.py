"""What runs: one file a flow, the only code that composes stages."""
