"""The Delta Lake: measurement tables, their quarantine, and the table _windows.

All that asks for a table raises MadeByNewer when the lake's layout is not known, LakeDamaged when the
table cannot be read or written, LakeUnavailable and LakeRefused of an object store, and all that
writes LakeBusy when another writer was first; docstrings name what they raise beyond that.
"""
