"""A case gets the same answer from the worker as through the public door."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from engine_shop import EngineShop
from simulators import rollout
from simulators.daily_balance import daily_balance

from retry_engine.domain.case_view import CaseView
from retry_engine.evaluation import LearntPolicy
from retry_engine.learning import replay
from retry_engine.learning.promoted import PromotedModel
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.store import cases

pytestmark = pytest.mark.integration


def _as_row(view: CaseView) -> dict[str, Any]:
    """What the store knows of a case, as a row of the cases' table."""
    return {
        "case_id": view.case_id, "invoice_id": view.invoice_id, "customer_id": view.customer_id,
        "account": view.account, "now": view.now, "opened_at": view.opened_at,
        "deadline_at": view.deadline_at, "amount": view.amount, "currency": view.currency,
        "billing_reason": view.billing_reason, "billing_interval": view.billing_interval,
        "customer_country": view.customer_country, "customer_timezone": view.customer_timezone,
        "customer_since": view.customer_since, "messages": [], "offers": [],
        "attempts": [
            {
                "at": a.at, "source": a.source.value, "outcome": a.outcome.value,
                "amount": a.amount, "currency": a.currency, "method_type": a.method_type,
                "payment_method_id": a.payment_method_id, "card_brand": a.card_brand,
                "card_country": a.card_country, "card_fingerprint": a.card_fingerprint,
                "decline_code": a.decline_code, "advice_code": a.advice_code,
                "network_advice_code": a.network_advice_code,
                "network_decline_code": a.network_decline_code, "risk_level": a.risk_level,
            }
            for a in view.attempts
        ],
        "payment_methods": [
            {
                "payment_method_id": m.id, "method_type": m.type, "card_brand": m.card_brand,
                "card_funding": m.card_funding, "card_country": m.card_country,
                "card_exp": "{}-{:02d}".format(*m.card_exp) if m.card_exp else "",
                "card_fingerprint": m.card_fingerprint, "is_default": m.is_default,
                "added_at": m.added_at,
            }
            for m in view.payment_methods
        ],
    }  # fmt: skip


def test_the_worker_decides_as_the_public_door_does(
    engine_shop: EngineShop, tmp_path: Path
) -> None:
    engine = engine_shop.engine
    past, _, bank = daily_balance(11, 700, test=1, since=datetime(2025, 1, 6, 6, tzinfo=UTC))
    pd.DataFrame(rollout.mixed_history(past, bank, 11)).to_csv(tmp_path / "log.csv", index=False)
    engine.learning.import_files([tmp_path / "log.csv"])
    version = engine.learning.train(seed=0, promote=True, on_progress=lambda _: None)["version"]

    customer, _, invoice = engine_shop.fails(*["insufficient_funds"] * 4)
    engine_shop.another_method(customer, *["do_not_honor"] * 4)
    compared = 0
    for _ in range(8):
        engine_shop.days_pass(customer, 2)
        case = engine_shop.case(invoice)
        last = case["decisions"][-1]
        if last["kind"] != "retry":
            continue
        assert last["model_version"] == version
        at = datetime.fromisoformat(last["at"])
        with engine.database.transaction() as connection:
            row = cases.find(connection, invoice.id)
            view = read_view(CaseContext(connection=connection, now=at, real_now=at), row)
        model = PromotedModel(engine.database, engine.clock)()
        assert model is not None
        record = replay.Record()
        for attempt in view.card_attempts:
            record.add(view.customer_id, attempt)
        door = LearntPolicy(engine.settings.policy, model, record)
        plan = door.decide(pd.DataFrame([_as_row(view)])).iloc[0]
        assert plan["retry_at"].to_pydatetime() == datetime.fromisoformat(last["retry_at"])
        assert plan["payment_method_id"] == last["payment_method"]
        assert plan["success_probability"] == last["success_probability"]
        assert plan["expected_value"] == last["expected_value"]
        compared += 1
    assert compared >= 3
