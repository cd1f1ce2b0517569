"""Alert rules without I/O: text of rules and of their tests, checks, and when they fire."""
