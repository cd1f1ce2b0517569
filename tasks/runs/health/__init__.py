"""The run `health`: endpoints, host, training and pushed checks of an environment."""
