"""Reports: self-contained HTML pages with a JSON export, and their charts."""
