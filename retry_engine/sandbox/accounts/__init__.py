"""An account of Stripe: what it holds, and what is set up for it."""
