"""A stand-in for Stripe Billing that the engine reaches over HTTP; it knows nothing of the engine.

A request goes down from `app` through `api` to `billing`, `checkout` or `payments`, which change
the `objects` of an account (`accounts`); what happened goes out by `transport`. `pages` are for
customers, `population` puts simulated ones behind an account, `steering` is for who tries things.
Time comes in as an argument everywhere.
"""
