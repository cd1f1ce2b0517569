"""The state database: what is landed and loaded, kept scrapes, and the run locks.

All that asks it raises LedgerUnavailable; docstrings name what they raise beyond that.
"""
