"""Stripe's `/v1`: requests, parameters, routes, lists, idempotency."""
