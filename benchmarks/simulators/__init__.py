"""Simulated populations, and the loop that plays a policy on one of them.

`sandbox_people`: the sandbox's own, as in the demo. `daily_balance` (`--population households`):
a balance by the day. `misspecified_prior` (`--population strangers`): built to contradict the
prior. A policy sees only what `retry_engine.evaluation` shows it, whichever it is played on.
"""
