"""Analysis of training runs: pure functions, without I/O."""
