"""The Delta Lake: measurement tables, their quarantine, and the table _windows.

Every access to a table raises MadeByNewer for an unknown layout of the lake, LakeDamaged when the
table cannot be read or written, LakeUnavailable and LakeRefused for an object store; every write
raises LakeBusy when another writer was first. Docstrings name further errors.
"""
