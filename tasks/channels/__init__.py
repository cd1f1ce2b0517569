"""Where fedvitals tells others what a run did: one module a channel."""
