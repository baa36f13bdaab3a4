"""Stripe through its own library: one object that the engine reads and writes it by."""
