"""HTTP in: Stripe's webhooks, the API for people and programs, probes and metrics."""
