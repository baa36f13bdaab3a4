"""Learning from the attempt log."""
