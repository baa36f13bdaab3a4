"""Simulated subscribers, their banks, and what they do about a payment that failed."""
