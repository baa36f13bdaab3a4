"""Stripe Billing: customers, catalog, discounts, subscriptions, invoices and their collection."""
