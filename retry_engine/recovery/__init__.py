"""The way of a failed invoice: intake, cases, planning, schedule, execution, outcomes."""
