"""Deployments: long-lived services, and the files that start them."""
