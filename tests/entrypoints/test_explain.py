"""Why a case was charged when it was, and why not at another moment."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from engine_shop import API_TOKEN, EngineShop
from serving import Web
from test_cli import run

pytestmark = pytest.mark.integration

ASKED = {
    "at", "payment_method", "success_probability", "permitted", "forbidden_by", "forbidden_until",
    "difference",
}  # fmt: skip


class Asks:
    """Asks one case's explanation over HTTP."""

    def __init__(self, here: EngineShop, web: Web) -> None:
        self.here, self.web = here, web
        self.customer, self.method, self.invoice = here.fails(
            "insufficient_funds", "insufficient_funds", "succeeded"
        )

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.here.case(self.invoice)["clock"]["now"])

    def __call__(self, status: int = 200, **query: Any) -> dict[str, Any]:
        answer = self.web.http.get(
            f"/api/cases/{self.invoice.id}/explain",
            params={k: v.isoformat() if isinstance(v, datetime) else v for k, v in query.items()},
            headers={"Authorization": f"Bearer {API_TOKEN}"},
        )
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def overrides(self, action: str, **more: Any) -> None:
        self.here.engine.operations.override(
            self.invoice.id, action=action, reason="a test", by="ola", **more
        )


@pytest.fixture
def asks(engine_shop: EngineShop) -> Iterator[Asks]:
    with Web(engine_shop.engine) as web:
        yield Asks(engine_shop, web)


def test_without_a_question_the_decision_and_the_chances_are_told(asks: Asks) -> None:
    told = asks()
    case = asks.here.case(asks.invoice)
    assert told["case"] == case["id"]
    assert told["decision"] == case["decisions"][-1]
    assert told["last_charge"] is None
    assert [curve["payment_method"] for curve in told["curves"]] == [asks.method.id]
    assert "asked" not in told
    assert told["model_version"] == told["deciding_model"]


def test_another_moment_is_compared_with_the_chosen_one_with_the_sign_that_it_has(
    asks: Asks,
) -> None:
    chosen = asks.here.case(asks.invoice)["next_action"]
    same = asks(at=chosen["at"])["asked"]
    assert set(same) >= ASKED
    assert (same["permitted"], same["difference"]) == (True, 0)
    assert same["payment_method"] == chosen["payment_method"]
    at = datetime.fromisoformat(chosen["at"])
    differences = set()
    for days in (1, 2, 5, 9):
        asked = asks(at=at + timedelta(days=days))["asked"]
        gap = asked["success_probability"] - asked["chosen"]["success_probability"]
        assert asked["difference"] == pytest.approx(100 * gap, abs=0.06)
        assert asked["chosen"]["at"] == chosen["at"]
        differences.add(asked["difference"])
    assert len(differences) > 1
    # where a person has moved it, theirs is the chosen moment
    asks.overrides("retry", at=at + timedelta(days=1))
    assert asks(at=at + timedelta(days=1))["asked"]["difference"] == 0


def test_what_is_forbidden_is_told_by_which_rule_and_until_when_and_then_it_is_permitted(
    asks: Asks,
) -> None:
    now = asks.now
    asked = asks(at=now)["asked"]
    assert not asked["permitted"]
    assert asked["forbidden_by"] == "gap_on_card"
    assert asked["overridable"]
    assert "the engine's own pacing holds it back until " in asked["reason"]
    until = datetime.fromisoformat(asked["forbidden_until"])
    assert until > now
    assert asks(at=until)["asked"]["permitted"]
    assert not asks(at=until - timedelta(minutes=1))["asked"]["permitted"]
    late = asks(at=now + timedelta(days=400))["asked"]
    assert (late["permitted"], late["forbidden_by"]) == (False, "case_deadline")
    assert (late["success_probability"], late["forbidden_until"]) == (None, None)


def test_what_a_bank_has_said_binds_everybody(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("expired_card")
    engine_shop.another_method(customer, "succeeded")
    with Web(engine_shop.engine) as web:
        answer = web.http.get(
            f"/api/cases/{invoice.id}/explain",
            params={"payment_method": engine_shop.case(invoice)["attempts"][0]["payment_method"]},
            headers={"Authorization": f"Bearer {API_TOKEN}"},
        )
    asked = answer.json()["asked"]
    assert not asked["permitted"]
    assert not asked["overridable"]
    assert asked["forbidden_until"] is None


def test_the_past_and_what_is_not_the_customers_is_no_question(asks: Asks) -> None:
    assert "is past" in asks(422, at=asks.now - timedelta(minutes=6))["detail"]
    assert asks(at=asks.now - timedelta(minutes=4))["asked"]["at"] == asks()["decision"]["at"]
    detail = asks(422, payment_method="pm_of_another")["detail"]
    assert asks.method.id in detail
    local = (asks.now + timedelta(days=2)).isoformat().replace("+00:00", " 02:00")
    assert asks(at=local)["asked"]["at"]  # a plus that nobody has encoded
    for wrong in ("soon", "2030-01-01T00:00:00", "9999-12-31T23:59:59-14:00"):
        assert "RFC 3339" in asks(422, at=wrong)["detail"]
    assert "unknown parameter" in asks(422, method="pm_1")["detail"]


def test_another_method_is_a_question_too(asks: Asks) -> None:
    other = asks.here.another_method(asks.customer, "succeeded")
    asks.here.works()
    chosen = asks.here.case(asks.invoice)["next_action"]
    asked = asks(payment_method=other.id)["asked"]
    assert (asked["payment_method"], asked["at"]) == (other.id, chosen["at"])
    assert asked["difference"] is not None


@pytest.mark.parametrize(
    ("act", "name"),
    [("pause", "case_paused"), ("hold", "case_in_review"), ("stop", "case_closed")],
)
def test_a_case_that_nobody_charges_says_so_and_not_a_rule(asks: Asks, act: str, name: str) -> None:
    asks.overrides(act)
    asked = asks(at=asks.now + timedelta(days=3))["asked"]
    assert (asked["permitted"], asked["forbidden_by"]) == (False, name)
    assert asked["reason"]


def test_a_support_person_reads_why_on_that_day_and_why_not_on_another(
    asks: Asks, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    planned = datetime.fromisoformat(asks.here.case(asks.invoice)["next_action"]["at"])
    asks.here.days_pass(asks.customer, (planned - asks.now) / timedelta(days=1) + 0.1)
    charge = asks()["last_charge"]
    assert (charge["outcome"], charge["requested_by"]) == ("failed", None)
    assert charge["decision"]["carried_out"]
    env = {
        "DATABASE_URL": database_url, "REDIS_URL": redis_url,
        "STRIPE_API_KEY": "sk_test_shop00000000", "STRIPE_API_BASE": asks.here.shop.url,
    }  # fmt: skip
    # the terminal goes by real time where the case has no clock of its own; this one has
    at = (asks.now + timedelta(hours=1)).isoformat()
    read = run("cases", "explain", asks.invoice.id, "--at", at, env=env, cwd=tmp_path)
    assert read.returncode == 0, read.stderr
    for told in ("Times are the customer's (", "Charged on ", "because", "And ", "Not then: "):
        assert told in read.stdout, read.stdout
    document = run("cases", "explain", asks.invoice.id, "--at", at, "--json", env=env, cwd=tmp_path)
    assert json.loads(document.stdout) == asks(at=at)
    for wrong in (
        ("--at", (asks.now - timedelta(days=1)).isoformat()),
        ("--method", "pm_of_another"),
        ("--at", "friday"),
    ):
        refused = run("cases", "explain", asks.invoice.id, *wrong, env=env, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
        assert "Traceback" not in refused.stderr


def test_in_a_narrow_terminal_no_id_is_cut(
    asks: Asks, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    case = asks.here.case(asks.invoice)
    narrow = {"FORCE_COLOR": "1", "COLUMNS": "60"}
    env = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, **narrow}
    listed = run("cases", "list", env=env, cwd=tmp_path)
    for told in (case["id"], case["invoice"], case["customer"], "mopen ", "USD"):  # in its colour
        assert told in listed.stdout
    asks.overrides("hold")
    (review,) = asks.here.engine.operations.list_reviews()["data"]
    listed = run("reviews", "list", env=env, cwd=tmp_path)
    assert review["id"] in listed.stdout
    assert case["id"] in listed.stdout
