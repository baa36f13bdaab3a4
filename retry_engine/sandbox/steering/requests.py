"""The door of `/_sandbox`: what can be seen and done from outside Stripe's API (JSON, no key).

- `POST /_sandbox/population` `{"seed", "invoices", "days", "start"?, "clock"?}`: a simulated
  population whose renewals fail in the first days; `{"clock", "customers", "start", "end"}`.
- `GET /_sandbox/next?clock=`: `{"at", "what"}` of what happens by itself next, or nulls.
- `GET /_sandbox/ledger`: `{"data": [...]}`, every attempt to take money that was carried out.
- `GET /_sandbox/summary`: recovered cases and money, by decline code and by attempt.
- `GET /_sandbox/webhooks`: `{"pending"}`: deliveries not acknowledged, and clocks on their way.
- `POST /_sandbox/act` `{"customer" or "invoice", "act", "payment_method"?, "card"?, …}`: what
  befalls somebody; see `acts` for what each takes: `pay_on_page`, `update_card`,
  `add_method`, `cancel`, `dispute`, `dispute_closed`, `early_fraud_warning`, `other_charge`,
  `card_automatically_updated`, `detach`.
- `POST /_sandbox/withdraw` `{"account"}`: a connected account takes the platform's access back.
- `GET /_sandbox/people?clock=`: what each person of the populations did and paid, what became of
  their subscriptions, and the sums.
- `GET /_sandbox/mail?address=&customer=`: the mail that came, as JSON; `GET /_sandbox/mailboxes`
  shows it in a browser; `POST` `{"address", "state"}` says what an address does with mail: `good`,
  `unknown`, `full`, `bounces`.
- `GET`, `POST`, `DELETE /_sandbox/faults`: see `transport.faults`.
- `POST /_sandbox/sigma` `{"title", "csv", "status"?, "error"?}`: a scheduled Sigma query has run
  with that result; the run.
- `POST /_sandbox/settings` `{"retry_days": [3, 5, 7]}`: Stripe's own retries; `[]` = off.
"""

import json

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from retry_engine.sandbox.errors import Refused, invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.pages import html
from retry_engine.sandbox.runtime import PLATFORM, Sandbox
from retry_engine.sandbox.steering.controls import steer


async def steered(  # noqa: PLR0911  # one line a path
    sandbox: Sandbox, request: Request
) -> Response:
    """The answer to one request."""
    what = request.path_params["what"]
    if request.method == "POST":
        try:
            given = json.loads(await request.body() or b"{}")
        except ValueError:
            return JSONResponse(invalid("The body is not JSON").body, 400)
    else:
        given = dict(request.query_params)
    account = sandbox.account(str(given.pop("account", PLATFORM)))
    try:
        if what == "faults":
            if request.method != "GET":
                sandbox.faults.replace(given if request.method == "POST" else {})
            return JSONResponse(sandbox.faults.as_json())
        if what == "mail":
            return JSONResponse({"data": _letters(sandbox, given)})
        if what == "mailboxes" and request.method == "GET":
            return _mailboxes(sandbox, given.get("address"))
        if what == "mailboxes":
            sandbox.post.set_state(str(given.get("address", "")), str(given.get("state", "")))
            return JSONResponse({})
        if what == "withdraw":
            sandbox.withdraw(account)
            return JSONResponse({"account": account.id, "withdrawn": account.withdrawn})
        if what == "webhooks":
            return JSONResponse({"pending": sandbox.pending})
        return JSONResponse(steer(account, request.method, what, given))
    except Refused as refused:
        return JSONResponse(refused.body, refused.status)


def _letters(sandbox: Sandbox, given: Obj) -> list[Obj]:
    found = sandbox.post.letters(given.get("address"), given.get("customer"))
    return [letter.as_json() for letter in found]


def _mailboxes(sandbox: Sandbox, address: str | None) -> Response:
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    if address is not None:
        letters = [letter.as_json() for letter in sandbox.post.letters(address)]
        return HTMLResponse(html.mailbox(address, letters), headers=headers)
    return HTMLResponse(html.mailboxes(sandbox.post.boxes()), headers=headers)
