"""What is held back, and trying it again."""
