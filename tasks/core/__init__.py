"""The words of fedvitals as types: cells, windows, batches, the catalogue, settings, errors, receipts."""
