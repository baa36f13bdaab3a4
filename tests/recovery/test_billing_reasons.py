"""Which failed invoices become cases: of all that Stripe's billing reasons name, the renewals."""

import typing
from pathlib import Path
from typing import Any

import pytest
import stripe
from engine_shop import EngineShop, RealTime, build_engine
from sandbox_shop import Shop

from retry_engine.domain.policy import Cases
from retry_engine.domain.vocabulary import BillingReason

RENEWALS = {"subscription_cycle", "subscription_threshold", "subscription_update"}


def _of_stripe() -> set[str]:
    """Every billing reason that Stripe's library knows."""
    hint: Any = stripe.Invoice.__annotations__["billing_reason"]
    [named] = [p for p in typing.get_args(hint) if typing.get_origin(p) is typing.Literal]
    return set(typing.get_args(named))


def test_the_setting_names_every_billing_reason_of_stripes() -> None:
    assert {reason.value for reason in BillingReason} == _of_stripe()
    assert set(Cases().billing_reasons) == RENEWALS


@pytest.mark.integration
@pytest.mark.parametrize("more", [set(), {"subscription_create", "manual"}])
def test_a_case_is_opened_for_renewals_and_for_what_the_policy_names_besides(
    shop: Shop, database_url: str, redis_url: str, tmp_path: Path, more: set[str]
) -> None:
    environment: dict[str, Any] = {}
    if more:
        policy = tmp_path / "policy.toml"
        named = ", ".join(f'"{reason}"' for reason in sorted(RENEWALS | more))
        policy.write_text(f"[cases]\nbilling_reasons = [{named}]\n")
        environment["RETRY_ENGINE_CONFIG"] = str(policy)
    time = RealTime()
    with build_engine(shop, database_url, redis_url, time, **environment) as engine:
        here = EngineShop(shop, engine, time)
        made: dict[str, str] = {}
        for reason in sorted(_of_stripe()):
            _, _, invoice = shop.failed_renewal("insufficient_funds")
            shop.sandbox.platform.get("invoice", invoice.id)["billing_reason"] = reason
            made[invoice.id] = reason
        here.works()
        opened = {made[case["invoice"]] for case in engine.operations.list_cases()["data"]}
    assert opened == RENEWALS | more
