"""Where the rules are asked whether a charge is allowed: the engine's own, and one by a person."""

from datetime import datetime

from retry_engine.domain import network_rules
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.errors import AttemptRefused
from retry_engine.domain.policy import Policy


def charge_refusal(
    view: CaseView,
    method_id: str | None,
    *,
    at: datetime,
    policy: Policy,
    by_person: bool = False,
) -> AttemptRefused | None:
    """The rule that forbids charging that method then, as an error to raise or to record.

    Of a charge that a person wants only what binds is asked: see `pacing_warnings`.
    """
    method = view.method(method_id)
    if method is None:
        return AttemptRefused(
            f"payment method {method_id} is not one of the customer's",
            rule="method_is_gone",
            allowed_from=None,
        )
    spans = network_rules.forbidden(view, method, policy=policy)
    forbidden = network_rules.longest_at(network_rules.binding(spans) if by_person else spans, at)
    if forbidden is None:
        return None
    until = f", until {forbidden.until:%Y-%m-%d %H:%M} UTC" if forbidden.until else ""
    return AttemptRefused(
        f"{forbidden.detail} (rule {forbidden.rule}{until})",
        rule=forbidden.rule,
        allowed_from=forbidden.until,
    )


def pacing_warnings(
    view: CaseView, method_id: str | None, *, at: datetime, policy: Policy
) -> list[str]:
    """What this engine's own pacing has against that charge, one text for each rule."""
    method = view.method(method_id)
    spans = network_rules.forbidden(view, method, policy=policy) if method is not None else ()
    against = {s.rule: s for s in spans if s.kind is network_rules.Kind.PACING and s.holds_at(at)}
    return [f"{span.detail} (rule {span.rule})" for span in against.values()]
