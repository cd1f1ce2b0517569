"""Where landed batches are loaded. Each sink answers for every value and stores nothing itself."""
