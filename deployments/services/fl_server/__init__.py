"""The demo service: a real, small federated-learning server to be monitored."""
