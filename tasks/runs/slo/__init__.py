"""The run `slo`, and the check of slos.yaml."""
