"""Payment intents and setup intents."""

from retry_engine.sandbox.api.lists import list_of
from retry_engine.sandbox.api.parameters import Spec
from retry_engine.sandbox.api.route import Call, Operation, Route, page_spec, spec
from retry_engine.sandbox.checkout import (
    client_secrets,
    confirmation,
    payment_intents,
    setup_intents,
)
from retry_engine.sandbox.objects import Obj

# what `allowed_payment_method_types` was called
_TYPES: Spec = {"payment_method_types": "list"}


_INTENT_CONFIRM = spec(
    payment_method="text",
    payment_method_data="map",
    return_url="text",
    off_session="any",
    use_stripe_sdk="flag",
    mandate_data="map",
    setup_future_usage="text",
    error_on_requires_action="flag",
    payment_method_options="map",
    receipt_email="text",
    shipping="map",
    capture_method="text",
    allowed_payment_method_types="list",
)


_INTENT_UPDATE = spec(
    amount="number",
    currency="text",
    customer="text",
    description="text",
    metadata="map",
    payment_method="text",
    payment_method_data="map",
    payment_method_options="map",
    allowed_payment_method_types="list",
    receipt_email="text",
    setup_future_usage="text",
    shipping="map",
    statement_descriptor="text",
    statement_descriptor_suffix="text",
    transfer_group="text",
    capture_method="text",
    excluded_payment_method_types="list",
)


_INTENT: Spec = {
    **_INTENT_UPDATE, **_INTENT_CONFIRM, "confirm": "flag", "confirmation_method": "text",
    "automatic_payment_methods": "map",
}  # fmt: skip


def _with_secret(table: str) -> Operation:
    """Retrieving an intent: whole with a secret key, in part for a page that knows its secret."""

    def run(call: Call) -> Obj:
        intent = call.thing(table)
        if not call.public:
            return intent
        return client_secrets.publicly(client_secrets.with_secret(intent, call.secret))

    return run


def _confirm(call: Call) -> Obj:
    intent = call.thing("payment_intent")
    if not call.public:
        return confirmation.confirm(call.account, intent, call.params, source="api")
    client_secrets.with_secret(intent, call.secret)
    done = confirmation.confirm(call.account, intent, call.params, source="customer")
    return client_secrets.publicly(done)


def _confirm_setup(call: Call) -> Obj:
    intent = call.thing("setup_intent")
    if not call.public:
        return setup_intents.confirm(call.account, intent, call.params)
    client_secrets.with_secret(intent, call.secret)
    return client_secrets.publicly(setup_intents.confirm(call.account, intent, call.params))


ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/payment_intents",
          run=lambda c: payment_intents.create(c.account, c.params), spec=_INTENT, older=_TYPES),
    Route(method="POST", pattern="/v1/payment_intents/*",
          run=lambda c: payment_intents.update(c.account, c.thing("payment_intent"), c.params),
          spec=_INTENT_UPDATE, older=_TYPES),
    Route(method="POST", pattern="/v1/payment_intents/*/capture",
          run=lambda c: payment_intents.capture(c.account, c.thing("payment_intent"), c.params),
          spec=spec(amount_to_capture="number", metadata="map")),
    Route(method="POST", pattern="/v1/payment_intents/*/cancel",
          run=lambda c: payment_intents.cancel(c.account, c.thing("payment_intent"), c.params),
          spec=spec(cancellation_reason="text")),
    Route(method="GET", pattern="/v1/payment_intents", run=list_of("payment_intent"),
          spec=page_spec(customer="text", created="range")),
    Route(method="GET", pattern="/v1/payment_intents/*", takes_publishable=True,
          run=_with_secret("payment_intent"), spec={"client_secret": "text", "expand": "list"}),
    Route(method="POST", pattern="/v1/payment_intents/*/confirm", takes_publishable=True,
          run=_confirm,
          spec=_INTENT_CONFIRM, older=_TYPES),
    Route(method="POST", pattern="/v1/setup_intents",
          run=lambda c: setup_intents.create(c.account, c.params),
          spec=spec(customer="text", usage="text", payment_method="text", confirm="flag",
                    allowed_payment_method_types="list", automatic_payment_methods="map",
                    description="text", metadata="map", return_url="text",
                    payment_method_data="map", payment_method_options="map",
                    use_stripe_sdk="flag", mandate_data="map"), older=_TYPES),
    Route(method="POST", pattern="/v1/setup_intents/*",
          run=lambda c: setup_intents.update(c.account, c.thing("setup_intent"), c.params),
          spec=spec(customer="text", description="text", metadata="map", payment_method="text",
                    payment_method_data="map", payment_method_options="map",
                    allowed_payment_method_types="list"), older=_TYPES),
    Route(method="POST", pattern="/v1/setup_intents/*/cancel",
          run=lambda c: setup_intents.cancel(c.account, c.thing("setup_intent"), c.params),
          spec=spec(cancellation_reason="text")),
    Route(method="GET", pattern="/v1/setup_intents", run=list_of("setup_intent"),
          spec=page_spec(customer="text", payment_method="text", created="range")),
    Route(method="GET", pattern="/v1/setup_intents/*", takes_publishable=True,
          run=_with_secret("setup_intent"), spec={"client_secret": "text", "expand": "list"}),
    Route(method="POST", pattern="/v1/setup_intents/*/confirm", takes_publishable=True,
          run=_confirm_setup,
          spec=spec(payment_method="text", payment_method_data="map", return_url="text",
                    use_stripe_sdk="flag", mandate_data="map",
                    payment_method_options="map", allowed_payment_method_types="list")),
)  # fmt: skip
