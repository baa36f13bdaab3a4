"""retry-engine: recovers failed subscription payments on Stripe Billing."""
