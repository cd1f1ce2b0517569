"""The page of SLOs."""
