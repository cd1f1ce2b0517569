"""Everything that is deployed: the long-lived services and the files that start them."""
