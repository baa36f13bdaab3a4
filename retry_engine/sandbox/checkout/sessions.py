"""Visits of customers that a merchant prepares: the portal, saved methods in a page's form."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj

FLOWS = (
    "customer_update", "payment_method_update", "subscription_cancel", "subscription_pause",
    "subscription_update", "subscription_update_confirm",
)  # fmt: skip
# which bank debits a form offers beside cards
_DEBITS_OF = {"eur": ("sepa_debit",), "usd": ("us_bank_account",), "gbp": ("bacs_debit",)}
# A portal link is for now, not for a mail: seconds until it is opened, and after that.
_UNOPENED, _OPENED = 300, 3600


def create_portal(account: Account, params: Obj) -> Obj:
    """`POST /v1/billing_portal/sessions`."""
    customer = account.get("customer", params.get("customer") or "", param="customer")
    flow = objects.portal_flow(params.get("flow_data"))
    if flow is not None and flow["type"] not in FLOWS:
        raise invalid(f"flow_data[type] is one of {', '.join(FLOWS)}.", param="flow_data[type]")
    session_id = account.new_id("billing_portal.session")
    made = objects.portal_session(
        id=session_id,
        created=account.real_now(),
        customer=customer["id"],
        url=f"{account.terms.pages_at}/p/session/{account.id}/{session_id}",
        return_url=params.get("return_url"),
        flow=flow,
    )
    account.hidden[session_id] = {"until": account.real_now() + _UNOPENED}
    account.put("billing_portal.session", made)
    account.emit("billing_portal.session.created", made)
    return made


def opened_portal(account: Account, session_id: str) -> Obj | None:
    """The session behind a link, if it has not gone stale."""
    session = account.tables["billing_portal.session"].get(session_id)
    now = account.real_now()
    if session is None or account.hidden[session_id]["until"] < now:
        return None
    hidden = account.hidden[session_id]
    if "opened" not in hidden:
        hidden.update(opened=now, until=now + _OPENED)
    return session


def create_customer_session(account: Account, params: Obj) -> Obj:
    """`POST /v1/customer_sessions`: lets a Payment Element show saved methods."""
    customer = account.get("customer", params.get("customer") or "", param="customer")
    element = (params.get("components") or {}).get("payment_element") or {}
    given = element.get("features") or {}
    features = {k: _number(v) if k.endswith("_limit") else v for k, v in given.items()}
    session_id = account.new_id("customer_session")
    made = objects.customer_session(
        secret=f"{session_id}_secret_{session_id[-12:]}",
        created=account.real_now(),
        customer=customer["id"],
        element={"enabled": element.get("enabled") == "true", "features": features},
    )
    account.tables["customer_session"][made["client_secret"]] = made
    return made


def _number(value: str) -> int:
    return int(value)


def elements_session(account: Account, params: Obj) -> Obj:
    """What a Payment Element needs to draw itself; Stripe.js's own call, not in the public API."""
    secret = str(params.get("client_secret") or "")
    intent = account.find(secret.partition("_secret_")[0])
    if intent is None or intent.get("client_secret") != secret:
        raise invalid("No such intent.", code="resource_missing", status=404)
    is_payment = intent["object"] == "payment_intent"
    return {
        "object": "elements_session",
        "amount": intent.get("amount"),
        "currency": intent.get("currency"),
        "intent": intent["id"],
        "mode": "payment" if is_payment else "setup",
        "payment_method_types": ["card", *_DEBITS_OF.get(intent.get("currency") or "eur", ())],
        "customer_payment_methods": _saved(account, intent, params),
        "status": intent["status"],
    }


def _saved(account: Account, intent: Obj, params: Obj) -> list[Obj]:
    session = account.tables["customer_session"].get(
        str(params.get("customer_session_client_secret") or "")
    )
    if session is None or session["expires_at"] < account.real_now():
        return []
    element = session["components"]["payment_element"]
    features = element["features"] or {}
    if session["customer"] != intent["customer"] or not element["enabled"]:
        return []
    if features["payment_method_redisplay"] != "enabled":
        return []
    wanted = features["payment_method_allow_redisplay_filters"]
    saved = [
        m for m in account.of("payment_method", session["customer"])
        if m["allow_redisplay"] in wanted
    ]  # fmt: skip
    limit = features["payment_method_redisplay_limit"]
    return [_shown(m) for m in saved[-limit:]]


def _shown(method: Obj) -> Obj:
    detail = method[method["type"]]
    return {
        "id": method["id"],
        "type": method["type"],
        "brand": detail.get("brand"),
        "last4": detail.get("last4"),
        "exp_month": detail.get("exp_month"),
        "exp_year": detail.get("exp_year"),
    }
