"""The last word before a charge: what the card networks, the debit schemes and consent forbid.

Every rule looks at a case and one payment method and answers with the spans of time in which that
method must not be charged. The planner plans around all of them, and they are asked again in the
transaction that commits an intent. Those that bind nobody can skip; what is only this engine's own
pacing stands back where a person wants the charge, who is warned of it.

Order of authority: a network's prohibition, then Stripe's `advice_code`, then a network's wait,
then the table of decline codes. What an answer is final for, what lifts it and how it ages stands
in the tables of `codes`: the issuer's latest answer decides, old evidence fades, a network's own
ban of a number stays. What was declined before a card's data changed says nothing about the card
as it is now, but still counts against the limits on attempts.

Sources: Visa Core Rules April 2026 table 7-2 and Mastercard's advice codes as quoted by acquirers;
Nacha, SEPA and Bacs re-presentment rules; docs.stripe.com/declines. Where the networks publish
nothing the ceilings are this engine's own, on the careful side, and say so.
"""

from retry_engine.domain.network_rules.counting import NETWORK_CEILINGS
from retry_engine.domain.network_rules.debits import DEBIT_RULES
from retry_engine.domain.network_rules.evidence import (
    ABOUT_THE_CARD,
    Stop,
    declines_of,
    shows_life,
    stops_of,
)
from retry_engine.domain.network_rules.invoices import CONSENT_GONE, consent_withdrawn
from retry_engine.domain.network_rules.rules import RULES, Rule, check, earliest, forbidden
from retry_engine.domain.network_rules.spans import Forbidden, Kind, binding, longest_at

__all__ = [
    "ABOUT_THE_CARD",
    "CONSENT_GONE",
    "DEBIT_RULES",
    "NETWORK_CEILINGS",
    "RULES",
    "Forbidden",
    "Kind",
    "Rule",
    "Stop",
    "binding",
    "check",
    "consent_withdrawn",
    "declines_of",
    "earliest",
    "forbidden",
    "longest_at",
    "shows_life",
    "stops_of",
]
