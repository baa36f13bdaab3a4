"""A stand-in for Stripe Billing that the engine reaches over HTTP; it knows nothing of the engine.

`account` holds the objects, `billing`, `payments`, `subscribing`, `methods` and `clocks` what
happens to them, `population` puts a simulated world of subscribers behind them, `app` is the
HTTP door and `webhooks` sends what happened. Time comes in as an argument everywhere.
"""
