"""What other invoices did to a customer's cards: one definition, wherever a case is decided."""

from collections.abc import Iterable

from retry_engine.domain.attempts import Attempt


def of_others(*sources: Iterable[Attempt], invoice_id: str) -> tuple[Attempt, ...]:
    """The attempts of all sources on other invoices than that, each once, oldest first.

    An attempt that two rows tell of is one: networks count charges. Of attempts that name no
    invoice, two of one moment may be two charges, and count as two.
    """
    others = [a for source in sources for a in source if a.invoice_id != invoice_id]
    found = {
        (a.at, a.invoice_id or str(place), a.payment_method_id, a.outcome): a
        for place, a in enumerate(others)
    }
    return tuple(sorted(found.values(), key=lambda a: a.at))
