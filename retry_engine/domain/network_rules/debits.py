"""Rules of the bank debit schemes: how often a debit is presented again, and on which days."""

from collections.abc import Mapping
from datetime import timedelta

from retry_engine.domain.attempts import Outcome
from retry_engine.domain.network_rules.spans import Forbidden, Spans
from retry_engine.domain.network_rules.subject import Subject

# Codes with which a debit may be presented again, how often, and until how long after the first.
DEBIT_RULES: Mapping[str, tuple[frozenset[str], int, timedelta]] = {
    "us_bank_account": (frozenset({"insufficient_funds"}), 2, timedelta(days=180)),
    "sepa_debit": (frozenset({"insufficient_funds", "refer_to_customer"}), 2, timedelta(days=60)),
    "bacs_debit": (frozenset({"insufficient_funds", "refer_to_customer"}), 2, timedelta(days=30)),
    "au_becs_debit": (frozenset({"insufficient_funds"}), 2, timedelta(days=30)),
    "acss_debit": (frozenset({"insufficient_funds"}), 1, timedelta(days=30)),
}


def debit(s: Subject) -> Spans:
    rule = DEBIT_RULES.get(s.method.type)
    tries = [a for a in s.on_card if a.invoice_id == s.view.invoice_id]
    if rule is None or not tries:
        return
    allowed, most, window = rule
    returned = (a for a in s.informative_here if a.outcome is Outcome.FAILED)
    final = next((a for a in returned if a.decline_code not in allowed), None)
    if final is not None:
        detail = f"a debit returned with {final.decline_code} is not presented again"
        yield Forbidden("debit_representment", s.start, None, detail)
    elif len(tries) > most:
        detail = f"a debit is presented again at most {most} times"
        yield Forbidden("debit_representment", s.start, None, detail)
    else:
        detail = f"a debit is presented again within {window.days} days of the first"
        yield Forbidden("debit_representment", max(tries[0].at + window, s.start), None, detail)


def weekend(s: Subject) -> Spans:
    if s.method.type not in DEBIT_RULES:
        return
    today = s.start.replace(hour=0, minute=0, second=0, microsecond=0)
    saturday = today + timedelta(days=5 - today.weekday())
    while saturday < s.view.deadline_at:
        monday = saturday + timedelta(days=2)
        yield Forbidden("debit_weekend", saturday, monday, "banks move debits on working days only")
        saturday += timedelta(days=7)
