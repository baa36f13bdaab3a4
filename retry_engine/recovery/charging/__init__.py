"""Charging: Stripe read, the case reconciled, rules asked again, intent, charge, outcome."""
