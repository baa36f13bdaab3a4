"""Values in, values out: from a case as known now to what is worth doing next."""
