"""Nothing is written to Stripe, and nobody written to, but where case and engine allow it."""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_shop import EngineShop, RealTime, build_engine
from sandbox_shop import Shop

from retry_engine.adapters import email, stripe, stripe_email, webhook_channel
from retry_engine.domain.errors import NotPermitted
from retry_engine.recovery.gate import permit
from retry_engine.recovery.gateway import Gateway
from retry_engine.recovery.messaging.channel import MessageChannel

ADAPTER = Path(stripe.__file__).parent
PACKAGE = ADAPTER.parents[1]
# What of Stripe's library only looks; all else is a write.
LOOKS = {"retrieve", "list", "retrieve_current"}
READS = {
    "charge", "charge_told", "clock", "coupon_of", "credit_note_of", "customer", "customer_charges",
    "has_paid_since", "invoice", "invoice_to_pay", "mandate_active", "payment_method",
    "payment_methods", "payment_trail", "subscription", "subscriptions_of",
}  # fmt: skip
# The doctor asks for what does not exist, to learn what the key may.
PROBES = {"may"}


@pytest.mark.parametrize("case_mode", ["takeover", "shadow", "holdout"])
@pytest.mark.parametrize("engine_mode", ["takeover", "shadow"])
def test_only_a_case_and_an_engine_that_both_say_takeover_get_a_permit(
    case_mode: str, engine_mode: str
) -> None:
    if (case_mode, engine_mode) == ("takeover", "takeover"):
        permit(case_mode, engine_mode)
        return
    with pytest.raises(NotPermitted):
        permit(case_mode, engine_mode)


def test_whatever_of_the_gateway_is_not_known_to_read_wants_a_permit() -> None:
    methods = [name for name in vars(Gateway) if not name.startswith("_")]
    assert {name for name in methods if not _wants_permit(getattr(Gateway, name))} <= READS


@pytest.mark.parametrize(
    "channel",
    [
        MessageChannel,
        email.EmailChannel,
        webhook_channel.WebhookChannel,
        stripe_email.StripeEmailChannel,
    ],
)
def test_no_channel_speaks_without_a_permit(channel: Any) -> None:
    assert _wants_permit(channel.send)


def _wants_permit(method: Callable[..., Any]) -> bool:
    wanted = inspect.signature(method).parameters.get("permit")
    return wanted is not None and wanted.default is inspect.Parameter.empty


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_only_the_gate_makes_permits() -> None:
    makers = {
        file.name
        for file in PACKAGE.rglob("*.py")
        for call in _calls(ast.parse(file.read_text()))
        if getattr(call.func, "id", getattr(call.func, "attr", "")) == "Permit"
    }
    assert makers == {"gate.py"}


def test_every_request_of_the_adapter_that_writes_lies_behind_a_permit() -> None:
    parts = [ast.parse(file.read_text()) for file in ADAPTER.glob("*.py")]
    places: list[ast.Module | ast.ClassDef] = [*parts]
    places += [n for tree in parts for n in tree.body if isinstance(n, ast.ClassDef)]
    methods = {
        node.name: node
        for place in places
        for node in place.body
        if isinstance(node, ast.FunctionDef) and node.name != "__init__"
    }
    permitted = {
        name for name, node in methods.items() if "permit" in (a.arg for a in node.args.kwonlyargs)
    }
    assert len(permitted) > 10
    for name, node in methods.items():
        if name in permitted | PROBES:
            continue
        calls = {ast.unparse(call.func) for call in _calls(node)}
        written = {
            call
            for call in calls
            if ".v1." in call and "(" not in call and call.rpartition(".")[2] not in LOOKS
        }
        if written:  # a part of its own: then only what is permitted may lead there
            callers = {
                other
                for other, body in methods.items()
                if any(ast.unparse(c.func) == f"self.{name}" for c in _calls(body))
            }
            assert name.startswith("_"), (name, written)
            assert callers <= permitted, (name, callers - permitted)


def test_nothing_but_the_adapter_knows_stripes_library() -> None:
    users = {
        file.parent.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Import) and any(a.name == "stripe" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "stripe")
    }
    assert users == {"stripe"}


# -- a case that was opened in takeover, and an engine that was then started in shadow


@pytest.fixture
def restart(shop: Shop, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Any]:
    time = RealTime()
    policy = tmp_path / "policy.toml"
    policy.write_text('[end]\nsubscription = "cancel"\n')
    opened: list[EngineShop] = []

    def start(mode: str) -> EngineShop:
        heard = opened[-1].delivered if opened else 0
        for before in opened[-1:]:
            before.engine.close()
        engine = build_engine(
            shop, database_url, redis_url, time,
            RETRY_ENGINE_MODE=mode, RETRY_ENGINE_CONFIG=str(policy),
        )  # fmt: skip
        opened.append(EngineShop(shop, engine, time, delivered=heard))
        return opened[-1]

    yield start
    for here in opened:
        here.engine.close()


@pytest.mark.integration
def test_a_case_taken_over_waits_in_a_shadow_engine_and_goes_on_in_takeover(restart: Any) -> None:
    here = restart("takeover")
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    here = restart("shadow")
    here.days_pass(customer, 12, step_hours=48)
    assert here.engine_charges(invoice) == []
    case, status = here.case(invoice), here.engine.health.status()
    assert (case["state"], case["mode"]) == ("open", "takeover")
    assert (status["actions_due"], status["actions_in_flight"]) == (0, 0)
    assert status["cases_that_wait_for_takeover"] == 1
    row = next(check for check in here.engine.doctor.examine() if check.name == "modes")
    assert row.status == "warn"
    assert "RETRY_ENGINE_MODE=takeover" in row.mend
    here = restart("takeover")
    here.days_pass(customer, 5)
    assert here.case(invoice)["close_reason"] == "recovered_by_engine"
    assert here.engine.health.status()["cases_that_wait_for_takeover"] == 0
    assert next(c for c in here.engine.doctor.examine() if c.name == "modes").status == "ok"


@pytest.mark.integration
def test_a_shadow_engine_ends_nothing_that_takeover_began(restart: Any) -> None:
    here = restart("takeover")
    customer, _, invoice = here.fails("lost_card")
    here = restart("shadow")
    here.days_pass(customer, 32, step_hours=96)
    ref = invoice.parent.subscription_details.subscription
    assert here.shop.stripe.v1.subscriptions.retrieve(ref).status == "past_due"
    assert here.case(invoice)["close_reason"] == "exhausted"
    assert here.engine.health.status()["actions_due"] == 0
    here = restart("takeover")
    here.works()
    assert here.shop.stripe.v1.subscriptions.retrieve(ref).status == "canceled"


@pytest.mark.integration
def test_a_charge_claimed_before_the_switch_is_not_made_after_it(restart: Any) -> None:
    here = restart("takeover")
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    claimed: list[int] = []
    while not claimed:
        here.shop.advances(customer, hours=12)
        here.works(leave="retry")
        claimed = here.claimed()
    here = restart("shadow")
    for action in claimed:
        here.engine.worker.run_action(action)
    here.works()
    assert here.engine_charges(invoice) == []
    assert here.case(invoice)["attempts_made"] == 0
    assert here.engine.health.status()["actions_in_flight"] == 0
