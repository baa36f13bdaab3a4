"""What people see and decide: documents of cases, overrides, reviews, the stop for everything."""
