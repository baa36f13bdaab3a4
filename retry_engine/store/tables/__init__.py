"""The tables as the code sees them; `migrations/` makes them, a test holds the two together.

Times of a case (`at`, `due_at`, `opened_at`, …) are on the case's own clock: Stripe's test clock
where its customer has one, else real time. Times that guard our own processes and Stripe's
idempotency keys (`received_at`, `claimed_until`, `sent_at`, …) are always real time.
"""

from retry_engine.store.tables.base import metadata
from retry_engine.store.tables.cases import (
    actions,
    attempts,
    case_transitions,
    cases,
    decisions,
    overrides,
    payment_methods,
    reviews,
    risk_flags,
)
from retry_engine.store.tables.customers import (
    changes,
    messages,
    offers,
    renewals,
    suppression_acts,
    suppressions,
)
from retry_engine.store.tables.engine import (
    acts,
    breakers,
    clocks,
    engine_state,
    inbox,
    policies,
    rate_limits,
)
from retry_engine.store.tables.learning import (
    attempt_log,
    backfills,
    models,
)
from retry_engine.store.tables.outbound import outbound_door, outbox

__all__ = [
    "actions",
    "acts",
    "attempt_log",
    "attempts",
    "backfills",
    "breakers",
    "case_transitions",
    "cases",
    "changes",
    "clocks",
    "decisions",
    "engine_state",
    "inbox",
    "messages",
    "metadata",
    "models",
    "offers",
    "outbound_door",
    "outbox",
    "overrides",
    "payment_methods",
    "policies",
    "rate_limits",
    "renewals",
    "reviews",
    "risk_flags",
    "suppression_acts",
    "suppressions",
]
