"""Payments: methods, how a bank answers a charge, charges and what goes back of them."""
