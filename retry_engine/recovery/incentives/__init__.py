"""What a customer may be given for paying, and change by themselves; each exactly once."""
