"""What people look at: self-contained HTML pages with a JSON twin, and their charts."""
