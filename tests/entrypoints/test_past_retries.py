"""A retry at a moment that has passed, one wrong digit in the year, charges nothing."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from engine_shop import API_TOKEN, EngineShop
from serving import Web
from test_cli import run

pytestmark = pytest.mark.integration


def _failed(here: EngineShop) -> tuple[Any, datetime]:
    """(invoice, the case's own now)."""
    _, _, invoice = here.fails("insufficient_funds", "succeeded")
    return invoice, datetime.fromisoformat(here.case(invoice)["clock"]["now"])


def test_over_http_it_is_422_from_more_than_five_minutes_on(engine_shop: EngineShop) -> None:
    invoice, now = _failed(engine_shop)
    standing = engine_shop.case(invoice)["next_action"]
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    with Web(engine_shop.engine) as web:
        for minutes, status in ((60 * 24 * 365, 422), (6, 422), (4, 200)):
            at = (now - timedelta(minutes=minutes)).isoformat()
            body = {"action": "retry", "reason": "typed", "at": at}
            answer = web.http.post(f"/api/cases/{invoice.id}/override", json=body, headers=headers)
            assert answer.status_code == status, answer.text
            if status == 422:
                assert "is past" in answer.json()["detail"]
                assert engine_shop.case(invoice)["next_action"] == standing
                engine_shop.works()
                assert engine_shop.engine_charges(invoice) == []


def test_at_the_terminal_it_is_bad_usage(
    engine_shop: EngineShop, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    invoice, now = _failed(engine_shop)
    found = run(
        "cases", "retry", invoice.id, "--at", now.replace(year=now.year - 1).isoformat(),
        "--reason", "typed", "--by", "ops",
        env={
            "DATABASE_URL": database_url, "REDIS_URL": redis_url,
            "STRIPE_API_KEY": "sk_test_shop00000000", "STRIPE_API_BASE": engine_shop.shop.url,
        },
        cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 2, found.stderr
    assert "is past" in found.stderr
    assert "Traceback" not in found.stderr
    engine_shop.works()
    assert engine_shop.engine_charges(invoice) == []
