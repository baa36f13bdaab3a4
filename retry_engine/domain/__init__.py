"""The field's words: money, attempts, cases, rules. Values only, standard library only."""
