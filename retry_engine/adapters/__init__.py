"""The outside world behind Protocols: Stripe, the broker, the embedded servers."""
