"""Stripe's own pages for customers, and its library for a merchant's."""
