"""How long a decision takes without any input or output: rules, prior and planner.

    python benchmarks/decision_latency.py

5,000 cases that differ in code, country, age, methods (1 to 3) and attempts (1 to 7).
"""

import time
from datetime import UTC, datetime, timedelta
from random import Random

from retry_engine.decisioning import planner
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import table
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy

_NOW = datetime(2026, 3, 20, 7, tzinfo=UTC)
_COUNTRIES = ("US", "GB", "DE", "FR", "BR", "JP", "AU", None)


def _code(rng: Random) -> str:
    """Mostly codes after which there is something to plan."""
    if rng.random() < 0.85:
        return rng.choice([c.code for c in table().values() if c.retryable == "yes"])
    return rng.choice((*table(), "a_code_nobody_knows"))


def case(rng: Random, number: int) -> CaseView:
    """One made-up case."""
    country = rng.choice(_COUNTRIES)
    methods = tuple(
        PaymentMethod(
            id=f"pm_{i}",
            card_brand=rng.choice(("visa", "mastercard", "amex")),
            card_funding=rng.choice(("debit", "credit", "prepaid")),
            card_country=country,
            card_exp=(2026 + rng.randint(0, 3), rng.randint(1, 12)),
            card_fingerprint=f"card {i}",
            is_default=i == 0,
        )
        for i in range(rng.randint(1, 3))
    )
    opened = _NOW - timedelta(days=rng.uniform(0, 20))
    times = sorted(opened + (_NOW - opened) * rng.random() for _ in range(rng.randint(0, 6)))
    attempts = tuple(
        Attempt(
            at=at,
            source=Source.ENGINE,
            outcome=Outcome.FAILED,
            amount=2000,
            currency="eur",
            invoice_id="in_1",
            payment_method_id=method.id,
            card_brand=method.card_brand,
            card_fingerprint=method.card_fingerprint,
            decline_code=_code(rng),
        )
        for at in (opened, *times)
        for method in (rng.choice(methods),)
    )
    return CaseView(
        case_id=f"case_{number}",
        invoice_id="in_1",
        customer_id="cus_1",
        account="",
        now=_NOW,
        opened_at=opened,
        deadline_at=opened + timedelta(days=30),
        amount=2000,
        currency="eur",
        attempts=attempts,
        payment_methods=methods,
        customer_country=country,
    )


def main() -> None:
    """Print the distribution."""
    rng = Random(1)
    cases = [case(rng, number) for number in range(5000)]
    for view in cases[:50]:  # calendars and code tables are read once a process
        planner.decide(view, policy=Policy())
    taken = []
    kinds: dict[str, int] = {}
    for view in cases:
        begun = time.perf_counter()
        decision = planner.decide(view, policy=Policy())
        taken.append((time.perf_counter() - begun) * 1000)
        kinds[decision.kind] = kinds.get(decision.kind, 0) + 1
    taken.sort()
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
        print(f"{name}: {taken[min(int(share * len(taken)), len(taken) - 1)]:6.2f} ms")
    print(kinds)


if __name__ == "__main__":
    main()
