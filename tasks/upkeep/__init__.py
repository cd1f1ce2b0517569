"""The lake and the ledger kept well: maintenance, repair, migration, rebuilding."""
