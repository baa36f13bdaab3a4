"""Webhook endpoints: where events are sent."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


def create(account: Account, params: Obj, *, secret: str | None = None) -> Obj:
    """`POST /v1/webhook_endpoints`. Its secret is shown this once."""
    if not params.get("url") or not params.get("enabled_events"):
        raise invalid("Missing required param: url or enabled_events.", param="url")
    made = objects.webhook_endpoint(
        id=account.new_id("webhook_endpoint"),
        created=account.real_now(),
        url=params["url"],
        events=list(params["enabled_events"]),
        version=params.get("api_version"),
    )
    made.update({n: params[n] for n in ("description", "metadata") if n in params})
    secret = secret or "whsec_" + "".join(account.rng.choices("abcdefghijkmnpqrstuvwxyz", k=32))
    account.hidden[made["id"]] = {"secret": secret, "connect": bool(params.get("connect"))}
    account.put("webhook_endpoint", made)
    return {**made, "secret": secret}


def update(made: Obj, params: Obj) -> Obj:
    """`POST /v1/webhook_endpoints/{id}`."""
    for name in ("url", "enabled_events", "description", "metadata"):
        if name in params:
            made[name] = params[name]
    if "disabled" in params:
        made["status"] = "disabled" if params["disabled"] else "enabled"
    return made


def delete(account: Account, made: Obj) -> Obj:
    """`DELETE /v1/webhook_endpoints/{id}`."""
    del account.tables["webhook_endpoint"][made["id"]]
    return {"id": made["id"], "object": "webhook_endpoint", "deleted": True}
