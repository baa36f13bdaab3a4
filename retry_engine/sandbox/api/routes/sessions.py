"""Sessions that a merchant prepares for a customer."""

from retry_engine.sandbox.api.route import Route, spec
from retry_engine.sandbox.checkout import sessions

ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/customer_sessions",
          run=lambda c: sessions.create_customer_session(c.account, c.params),
          spec=spec(customer="text", components="map")),
    Route(method="GET", pattern="/v1/elements/sessions", takes_publishable=True,
          run=lambda c: sessions.elements_session(
              c.account, {**c.params, "client_secret": c.secret}),
          spec={"customer_session_client_secret": "text"}),
    Route(method="POST", pattern="/v1/billing_portal/sessions",
          run=lambda c: sessions.create_portal(c.account, c.params),
          spec=spec(customer="text", return_url="text", flow_data="map", locale="text",
                    configuration="text")),
)  # fmt: skip
