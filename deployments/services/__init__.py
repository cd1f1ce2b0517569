"""The long-lived processes of fedvitals."""
