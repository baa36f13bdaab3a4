"""Use cases: what workers, people and customers ask of the engine. No SQL, no HTTP, no Stripe."""
