"""Truths about the record as a whole, which hold at any moment."""

from sqlalchemy import Connection, text

from retry_engine.domain.vocabulary import CloseReason
from retry_engine.store.prepared import in_words


def breaches(connection: Connection) -> dict[str, int]:
    """Truths that must hold at any moment, each counted: 0 everywhere, or somebody must look."""
    queries = {
        "two_successes_on_one_invoice": (
            "select count(*) from (select case_id from attempts where outcome = 'succeeded'"
            " and source = 'engine' group by case_id having count(*) > 1) t"
        ),
        "retry_planned_on_a_case_that_is_not_open": (
            "select count(*) from actions a join cases c on c.id = a.case_id"
            " where a.kind = 'retry' and a.state = 'planned' and c.state <> 'open'"
        ),
        "discount_on_an_invoice_that_was_not_paid_in_time": (
            "select count(*) from offers o join cases c on c.id = o.case_id"  # noqa: S608
            " where o.state in ('taking', 'taken', 'ending') and o.ended_at is null"
            " and not exists (select from actions a where a.case_id = o.case_id"
            " and a.kind in ('offer', 'offer_end')"
            " and a.state in ('planned', 'claimed'))"
            " and coalesce(c.close_reason, '') not in"
            f" ({in_words(reason for reason in CloseReason if reason.is_paid)})"
        ),
        "living_case_without_anything_planned": (
            "select count(*) from cases c where c.state in ('open', 'processing', 'needs_customer')"
            " and not exists (select from actions a where a.case_id = c.id"
            " and a.state in ('planned', 'claimed'))"
        ),
    }
    return {
        name: int(connection.execute(text(query)).scalar_one()) for name, query in queries.items()
    }
