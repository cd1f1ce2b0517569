"""What every run shares: its skeleton, its plan, its tools, its own figures, its report."""
