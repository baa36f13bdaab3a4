"""What goes in and out on the network: webhooks, mail, and the faults of both and of the API."""
