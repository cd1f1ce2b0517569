"""The state database: landed and loaded cells, kept scrapes, and the run locks.

Every access raises LedgerUnavailable; docstrings name further errors.
"""
