"""Who may use the service, how often, and which addresses it may fetch from."""
