"""What is concluded from training runs: pure functions, without I/O."""
