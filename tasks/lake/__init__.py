"""The Delta Lake: measurement tables, their quarantine, and the table _windows."""
