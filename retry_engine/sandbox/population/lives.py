"""What people did and what became of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.population.subscribers import Person
from retry_engine.sandbox.population.traits import Temper


@dataclass(slots=True, kw_only=True)
class Life:
    """What one person did and what became of them."""

    person: Person
    customer: str
    temper: Temper
    diary: list[Obj] = field(default_factory=list)
    letters: int = 0
    received: list[tuple[int, float]] = field(default_factory=list)
    cards: int = 0
    comes_back: bool = False
    worn_out: bool = False
    unsubscribed: bool = False
    complained: bool = False
    rewarded_at: int | None = None
    convinced: bool = False
    holds_back: bool = False


def reported(account: Account, life: Life) -> Obj:
    """What a person did and paid, and what became of their subscriptions."""
    charges = [c for c in account.of("charge", life.customer) if c["status"] == "succeeded"]
    invoices = account.of("invoice", life.customer)
    notes = [n for n in account.of("credit_note", life.customer) if n["status"] == "issued"]
    subscriptions = account.of("subscription", life.customer)
    paid_invoices = [i for i in invoices if i["status"] == "paid"]
    paid_ids = {i["id"] for i in paid_invoices}
    # only what was given up on invoices that were paid: the rest cost nothing
    lowered = [
        i["amount_paid"]
        for i in paid_invoices
        if i["pre_payment_credit_notes_amount"] or i["total_discount_amounts"]
    ]
    credited = sum(n["amount"] for n in notes if n["invoice"] in paid_ids)
    discounted = sum(e["amount"] for i in paid_invoices for e in i["total_discount_amounts"])
    return {
        "person": life.person.key,
        "customer": life.customer,
        "country": life.person.country,
        "currency": life.person.currency,
        "truth": asdict(life.temper),
        "diary": life.diary,
        "letters": life.letters,
        "paid": sum(c["amount"] for c in charges),
        "refunded": sum(c["amount_refunded"] for c in charges),
        "credited": credited,
        "discounted": discounted,
        # paid after a discount had convinced them; and given for nothing
        "moved": sum(lowered) if life.convinced else 0,
        "wasted": 0 if life.convinced else credited + discounted,
        "unpaid_invoices": sum(i["status"] in ("open", "uncollectible") for i in invoices),
        "churned": bool(subscriptions)
        and all(s["status"] in ("canceled", "incomplete_expired") for s in subscriptions),
        "unsubscribed": life.unsubscribed,
        "complained": life.complained,
    }


def totals(people: Sequence[Obj]) -> Obj:
    """The sums over all reports. Money in minor units by currency."""
    all_of: Obj = {"people": len(people), "paid": {}, "credited": {}, "discounted": {}}
    for name in ("paid", "credited", "discounted", "refunded", "moved", "wasted"):
        sums: dict[str, int] = {}
        for one in people:
            if one[name]:
                sums[one["currency"]] = sums.get(one["currency"], 0) + one[name]
        all_of[name] = sums
    all_of["churned"] = sum(one["churned"] for one in people)
    all_of["unpaid_invoices"] = sum(one["unpaid_invoices"] for one in people)
    counts: dict[str, int] = {}
    for one in people:
        for entry in one["diary"]:
            counts[entry["what"]] = counts.get(entry["what"], 0) + 1
    all_of["deeds"] = dict(sorted(counts.items()))
    return all_of
