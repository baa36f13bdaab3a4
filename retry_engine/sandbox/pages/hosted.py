"""Stripe's own pages over HTTP: hosted invoice, 3D Secure challenge, customer portal.

What Stripe does on its hosted invoice page with "use this for the next payments" is not
documented to the last detail; here the method becomes the customer's default, and the
subscription's where the subscription has one of its own.
"""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.billing import lifecycle
from retry_engine.sandbox.billing.collection import default_intent, has_payment_under_way
from retry_engine.sandbox.billing.default_methods import new_default
from retry_engine.sandbox.checkout import authentication, confirmation, sessions, three_d_secure
from retry_engine.sandbox.errors import Refused
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.pages import html
from retry_engine.sandbox.payments import payment_methods

Accounts = Mapping[str, Account]
_Handler = Callable[[Request], Awaitable[Response]]

_NO_SCRIPT = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
_HEADERS = {
    "Content-Security-Policy": f"{_NO_SCRIPT}; form-action *; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# shown in a frame of the merchant's page, and telling it when it is over
_FRAMED = {
    **_HEADERS,
    "Content-Security-Policy": f"{_NO_SCRIPT}; script-src 'self'; frame-ancestors *",
}


def routes(accounts: Accounts) -> list[Route]:
    """The pages' routes, over the accounts of a sandbox."""
    return [
        _route("/i/{account}/{invoice}", _Invoices(accounts)),
        _route("/challenge/{account}/{secret}", _Challenges(accounts)),
        _route("/p/session/{account}/{session}", _Portal(accounts)),
    ]


def _route(path: str, page: "_Page") -> Route:
    return Route(path, page.answer, methods=["GET", "POST"])


class _Page:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def answer(self, request: Request) -> Response:
        account = self._accounts.get(request.path_params["account"])
        if account is None:
            return _gone()
        form = dict(parse_qsl((await request.body()).decode())) if request.method == "POST" else {}
        return self.shown(request, account, form)

    def shown(self, request: Request, account: Account, form: Mapping[str, str]) -> Response:
        raise NotImplementedError


def _gone() -> Response:
    return HTMLResponse(html.gone("There is no such page."), 404, _HEADERS)


class _Invoices(_Page):
    def shown(self, request: Request, account: Account, form: Mapping[str, str]) -> Response:
        wanted = request.path_params["invoice"].removeprefix("test_")
        invoice = account.tables["invoice"].get(wanted)
        if invoice is None:
            return _gone()
        if request.method == "GET":
            return _invoice_page(account, invoice)
        if has_payment_under_way(account, invoice) or invoice["status"] not in (
            "open", "uncollectible",
        ):  # fmt: skip
            return RedirectResponse(str(request.url.path), 303, _HEADERS)
        try:
            intent = _pay(account, invoice, form, back=str(request.url))
        except Refused as refused:
            message = str(refused.body["error"]["message"])
            return _invoice_page(account, invoice, error=message, status=refused.status)
        if intent["status"] == "requires_action":
            url = three_d_secure.challenge_url(account, intent)
            return RedirectResponse(_path_of(url), 303, _HEADERS)
        return RedirectResponse(str(request.url.path), 303, _HEADERS)


def _path_of(url: str) -> str:
    """The sandbox's own pages are where this one is, whatever name it was reached by."""
    return urlsplit(url).path


def _invoice_page(
    account: Account, invoice: Obj, *, error: str | None = None, status: int = 200
) -> Response:
    customer = account.tables["customer"].get(invoice["customer"]) or {}
    if error is None and invoice["status"] == "open":
        error = _last_error(account, invoice)
    if has_payment_under_way(account, invoice):
        return HTMLResponse(html.gone("Your payment is on its way."), 200, _HEADERS)
    sums = {
        "Discount": sum(entry["amount"] for entry in invoice["total_discount_amounts"]),
        "Credit": invoice["pre_payment_credit_notes_amount"],
        "Paid": invoice["amount_paid"],
    }
    body = html.invoice(
        invoice,
        locale=next(iter(customer.get("preferred_locales") or ()), None),
        # a link in a mail may be passed on: saved methods are named by their last digits only
        methods=account.of("payment_method", invoice["customer"]),
        error=error,
        lines={name: amount for name, amount in sums.items() if amount},
    )
    return HTMLResponse(body, status, _HEADERS)


def _last_error(account: Account, invoice: Obj) -> str | None:
    """Why the challenge that one has just come back from did not help."""
    intent = default_intent(account, invoice)
    error = intent["last_payment_error"] or {}
    failed = error.get("code") == "payment_intent_authentication_failure"
    return str(error["message"]) if failed else None


def _pay(account: Account, invoice: Obj, form: Mapping[str, str], *, back: str) -> Obj:
    intent = default_intent(account, invoice)
    if intent["status"] == "requires_action":
        # another method instead of the one that the bank asks about
        intent.update(status="requires_payment_method", next_action=None)
    params: Obj = {"return_url": back}
    if form.get("method") == "new":
        params["payment_method_data"] = _card(form)
    else:
        params["payment_method"] = form.get("method")
    account.hidden.setdefault(intent["id"], {})["save"] = form.get("save") == "true"
    return confirmation.confirm(account, intent, params, source="customer")


def _card(form: Mapping[str, str]) -> Obj:
    month, _, year = form.get("expiry", "").replace(" ", "").partition("/")
    card = {"number": form.get("number", ""), "exp_month": month, "exp_year": year}
    return {"type": "card", "card": {**card, "cvc": form.get("cvc", "")}}


class _Challenges(_Page):
    def shown(self, request: Request, account: Account, form: Mapping[str, str]) -> Response:
        framed = "framed" in request.query_params or "framed" in form
        headers = _FRAMED if framed else _HEADERS
        secret = request.path_params["secret"]
        intent = three_d_secure.challenged(account, secret)
        if intent is None:
            return self._over(request, "There is nothing to authenticate.", headers, framed=framed)
        if request.method == "GET":
            return HTMLResponse(html.challenge(framed=framed), 200, headers)
        intent = authentication.answer_challenge(
            account, intent, passes=form.get("answer") == "pass"
        )
        return_url = account.hidden.get(intent["id"], {}).get("return_url")
        if framed or not return_url:
            return self._over(request, "You can close this page.", headers, framed=framed)
        return RedirectResponse(_with_result(return_url, intent), 303, headers)

    @staticmethod
    def _over(
        request: Request, message: str, headers: Mapping[str, str], *, framed: bool
    ) -> Response:
        script = "/stripe_js/challenge.js" if framed else None
        status = 200 if framed or request.method == "POST" else 404
        return HTMLResponse(html.challenge_over(message, script=script), status, headers)


def _with_result(return_url: str, intent: Obj) -> str:
    """The merchant's address with what Stripe appends to it; Stripe's own pages need none."""
    parts = urlsplit(return_url)
    if parts.path.startswith("/i/"):
        return parts.path
    kind = intent["object"]
    went = intent["status"] in ("succeeded", "processing")
    result = {
        kind: intent["id"],
        f"{kind}_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if went else "failed",
    }
    query = urlencode([*parse_qsl(parts.query), *result.items()])
    return urlunsplit(parts._replace(query=query))


class _Portal(_Page):
    def shown(self, request: Request, account: Account, form: Mapping[str, str]) -> Response:
        session = sessions.opened_portal(account, request.path_params["session"])
        customer = account.tables["customer"].get(session["customer"]) if session else None
        if session is None or customer is None:
            return HTMLResponse(html.gone("This link is no longer valid."), 404, _HEADERS)
        done = error = None
        try:
            if form.get("do") == "card":
                done = _new_card(account, customer, form)
            elif form.get("do") == "cancel":
                done = _cancel(account, customer, form)
        except Refused as refused:
            error = str(refused.body["error"]["message"])
        flow = session["flow"] or {}
        redirect = ((flow.get("after_completion") or {}).get("redirect") or {}).get("return_url")
        if done and redirect:
            return RedirectResponse(redirect, 303, _HEADERS)
        body = html.portal(
            methods=account.of("payment_method", customer["id"]),
            default=customer["invoice_settings"]["default_payment_method"],
            subscriptions=[
                s for s in account.of("subscription", customer["id"])
                if s["status"] not in ("canceled", "incomplete_expired")
            ],
            error=error,
            done=done,
            return_url=session["return_url"],
            flow=flow.get("type"),
        )  # fmt: skip
        return HTMLResponse(body, 402 if error else 200, _HEADERS)


def _new_card(account: Account, customer: Obj, form: Mapping[str, str]) -> str:
    account.refuse_while_advancing(customer)
    method = payment_methods.create(account, _card(form))
    refusal = payment_methods.refuses_attaching(account, method)
    if refusal is not None:
        raise refusal
    payment_methods.attach_to(account, method, customer)
    # a subscription's own default stays, as with Stripe's portal
    new_default(account, customer, method)
    return "Your new card is saved."


def _cancel(account: Account, customer: Obj, form: Mapping[str, str]) -> str:
    account.refuse_while_advancing(customer)
    subscription = account.tables["subscription"].get(form.get("subscription", ""))
    if subscription is None or subscription["customer"] != customer["id"]:
        return "There is no such subscription."
    if subscription["status"] not in ("canceled", "incomplete_expired"):
        lifecycle.end(account, subscription, reason="cancellation_requested")
    return "Your subscription has ended."
