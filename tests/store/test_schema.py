"""The migrations make what the code declares, and the database guards the money by itself."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from itertools import product
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from retry_engine.domain.case_states import TRANSITIONS
from retry_engine.domain.vocabulary import (
    ActionKind,
    ActionState,
    CaseState,
    Cause,
    Change,
    CloseReason,
    EventState,
    MessageKind,
    MessageState,
    Mode,
    ModelState,
    OfferState,
    OutboundState,
    OutboundType,
    Outcome,
    RenewalState,
    ReviewState,
    RiskFlagKind,
    Source,
    SuppressionAct,
    SuppressionReason,
    Way,
)
from retry_engine.settings import bundled
from retry_engine.store.database import Database
from retry_engine.store.tables import metadata

pytestmark = pytest.mark.integration
NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)


def _migrate(connection: Connection, target: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(bundled("migrations")))
    config.attributes["connection"] = connection
    (command.downgrade if target == "base" else command.upgrade)(config, target)
    connection.commit()


def test_the_migrations_from_empty_give_what_the_code_declares(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with database.connection() as connection:
        _migrate(connection, "head")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.close()


def test_the_migrations_go_down_to_nothing_and_up_again(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    query = text("select count(*) from pg_tables where schemaname = 'public'")
    with database.connection() as connection:
        _migrate(connection, "head")
        _migrate(connection, "base")
        assert connection.execute(query).scalar_one() == 1  # alembic's own
        connection.commit()
        _migrate(connection, "head")
        assert connection.execute(query).scalar_one() > 10
    database.close()


@pytest.fixture
def connection(database_url: str) -> Any:
    database = Database(database_url)
    with database.connection() as opened:
        opened.execute(text("insert into policies (version, content) values ('p', '{}')"))
        opened.commit()
        yield opened
        opened.rollback()
    database.close()


def _case(connection: Connection, state: str, *, mode: str = "takeover", name: str = "c") -> str:
    closed = state == "closed"
    connection.execute(
        text(
            "insert into cases (id, invoice_id, customer_id, state, mode, policy_version,"
            " amount_remaining, currency, opened_at, deadline_at, closed_at, close_reason)"
            " values (:id, :id, 'cus', :state, :mode, 'p', 100, 'eur', :now, :now, :closed, :why)"
        ),
        {
            "id": name,
            "state": state,
            "mode": mode,
            "now": NOW,
            "closed": NOW if closed else None,
            "why": "stopped" if closed else None,
        },
    )
    return name


_CLOSE = ", closed_at = now(), close_reason = 'stopped'"


@pytest.mark.parametrize(("source", "target"), list(product(CaseState, CaseState)))
def test_the_database_knows_the_same_ways_between_states_as_the_code(
    connection: Connection, source: CaseState, target: CaseState
) -> None:
    if source == target:
        return
    allowed = any(source in t.sources and t.target == target for t in TRANSITIONS.values())
    _case(connection, source)
    end = _CLOSE if target is CaseState.CLOSED else ""
    if source is CaseState.CLOSED:
        end = ", closed_at = null, close_reason = null"
    statement = text(f"update cases set state = :target{end} where id = 'c'")
    if allowed:
        connection.execute(statement, {"target": target})
    else:
        with pytest.raises(IntegrityError, match=r"no way|keeps its end"):
            connection.execute(statement, {"target": target})


def _intent(connection: Connection, case: str, number: int = 1) -> None:
    connection.execute(
        text(
            "insert into attempts (case_id, sequence, at, sent_at, source, outcome, amount,"
            " currency, idempotency_key) values (:case, :n, :now, :now, 'engine', 'unknown',"
            " 100, 'eur', :key)"
        ),
        {"case": case, "n": number, "now": NOW, "key": f"key {case} {number}"},
    )


def test_an_intent_on_an_open_case_is_taken(connection: Connection) -> None:
    _intent(connection, _case(connection, "open"))


@pytest.mark.parametrize("state", [s for s in CaseState if s is not CaseState.OPEN])
def test_no_intent_is_taken_on_a_case_that_is_not_open(
    connection: Connection, state: CaseState
) -> None:
    case = _case(connection, state)
    with pytest.raises(IntegrityError, match="nothing may be charged"):
        _intent(connection, case)


@pytest.mark.parametrize("mode", ["shadow", "holdout"])
def test_no_intent_is_taken_where_the_engine_only_watches(
    connection: Connection, mode: str
) -> None:
    case = _case(connection, "open", mode=mode)
    with pytest.raises(IntegrityError, match="nothing may be charged"):
        _intent(connection, case)


def test_no_intent_is_taken_while_the_engine_is_paused(connection: Connection) -> None:
    case = _case(connection, "open")
    connection.execute(text("update engine_state set paused = true"))
    with pytest.raises(IntegrityError, match="engine is paused"):
        _intent(connection, case)


def test_one_attempt_at_a_time_is_in_flight(connection: Connection) -> None:
    case = _case(connection, "open")
    _intent(connection, case)
    with pytest.raises(IntegrityError, match="in flight"):
        _intent(connection, case, 2)


def test_nothing_is_charged_after_a_success(connection: Connection) -> None:
    case = _case(connection, "open")
    _intent(connection, case)
    connection.execute(text("update attempts set outcome = 'succeeded'"))
    with pytest.raises(IntegrityError, match="succeeded"):
        _intent(connection, case, 2)


def test_a_planned_retry_goes_when_its_case_is_no_longer_open(connection: Connection) -> None:
    case = _case(connection, "open")
    connection.execute(
        text("insert into actions (case_id, kind, due_at) values (:case, 'retry', :now)"),
        {"case": case, "now": NOW},
    )
    connection.execute(text("update cases set state = 'paused' where id = 'c'"))
    states = connection.execute(text("select state from actions")).scalars().all()
    assert states == ["cancelled"]
    with pytest.raises(IntegrityError, match="no retry can be planned"):
        connection.execute(
            text("insert into actions (case_id, kind, due_at) values (:case, 'retry', :now)"),
            {"case": case, "now": NOW},
        )


APPEND_ONLY = sorted(t.name for t in metadata.tables.values() if t.info.get("append_only"))


def test_what_the_code_calls_append_only_the_database_does_too(connection: Connection) -> None:
    query = "select tgrelid::regclass::text from pg_trigger where tgname = 'append_only' order by 1"
    kept = connection.execute(text(query)).scalars().all()
    assert kept == APPEND_ONLY
    assert set(kept) >= {name for name in metadata.tables if re.search(r"(_|^)acts$", name)}


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("act", ["update {} set at = now()", "delete from {}"])
def test_what_was_recorded_cannot_be_rewritten(
    connection: Connection, table: str, act: str
) -> None:
    _case(connection, "open")
    connection.execute(
        text(
            "insert into case_transitions (case_id, at, name, to_state, cause)"
            " values ('c', now(), 'opened', 'open', 'x')"
        )
    )
    connection.execute(
        text(
            "insert into overrides (case_id, at, by, action, reason, before, after)"
            " values ('c', now(), 'p', 'note', 'x', '{}', '{}')"
        )
    )
    connection.execute(
        text(
            "insert into acts (at, by, action, subject, reason, before, after)"
            " values (now(), 'p', 'pause', 'engine', 'x', '{}', '{}')"
        )
    )
    connection.execute(
        text(
            "insert into suppression_acts (address_hash, act, by, at)"
            " values ('h', 'lifted', 'p', now())"
        )
    )
    with pytest.raises(IntegrityError, match="append-only"):
        connection.execute(text(act.format(table)))


VOCABULARIES: dict[tuple[str, str], type[StrEnum]] = {
    ("actions", "kind"): ActionKind,
    ("actions", "state"): ActionState,
    ("attempts", "outcome"): Outcome,
    ("attempts", "source"): Source,
    ("breakers", "cause"): Cause,
    ("cases", "close_reason"): CloseReason,
    ("cases", "mode"): Mode,
    ("cases", "state"): CaseState,
    ("changes", "kind"): Change,
    ("inbox", "state"): EventState,
    ("messages", "state"): MessageState,
    ("models", "state"): ModelState,
    ("offers", "state"): OfferState,
    ("offers", "way"): Way,
    ("outbox", "state"): OutboundState,
    ("outbox", "type"): OutboundType,
    ("renewals", "state"): RenewalState,
    ("reviews", "state"): ReviewState,
    ("risk_flags", "kind"): RiskFlagKind,
    ("suppression_acts", "act"): SuppressionAct,
    ("suppression_acts", "reason"): SuppressionReason,
    ("suppressions", "reason"): SuppressionReason,
}
# Columns that take a part of their enum: what comes about elsewhere, or not there.
PARTS: dict[tuple[str, str], set[StrEnum]] = {
    ("changes", "state"): {OfferState.TAKING, OfferState.TAKEN, OfferState.REFUSED},
    ("messages", "kind"): {
        MessageKind.UPDATE_METHOD,
        MessageKind.AUTHENTICATE,
        MessageKind.PAYMENT_FAILED,
    },
    ("renewals", "kind"): {MessageKind.CARD_EXPIRING, MessageKind.RENEWAL_AT_RISK},
}


def _words_in_the_database(connection: Connection) -> dict[tuple[str, str], set[str]]:
    """By table and column: the words that a check constraint lets a column hold."""
    query = (
        "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint"
        " where contype = 'c' and connamespace = 'public'::regnamespace"
    )
    found: dict[tuple[str, str], set[str]] = {}
    for table, definition in connection.execute(text(query)):
        column = re.match(r"CHECK \(\((\w+) = ANY", definition)
        if column is not None:
            found[table, column[1]] = set(re.findall(r"'([\w.]+)'", definition))
    return found


def test_the_database_and_the_code_use_the_same_words(connection: Connection) -> None:
    expected = {place: set(words) for place, words in VOCABULARIES.items()}
    assert _words_in_the_database(connection) == expected | PARTS
