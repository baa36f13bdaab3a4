"""An engine that writes to customers of a shop, and those who read what it says."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from engine_shop import EngineShop, RealTime, build_engine
from post_office import PostOffice
from sandbox_shop import Shop
from starlette.testclient import TestClient

from retry_engine.adapters.email import EmailChannel
from retry_engine.domain.policy import Messages
from retry_engine.entrypoints.web.app import create_app
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.messaging.channel import Message

PUBLIC = "https://pay.example.com"
ADDRESS = "maria@example.com"

# the end of that month is before the first renewal
SOON = (3, 2026)

Writing = Callable[..., EngineShop]


SENT_AT = datetime(2026, 3, 10, 9, tzinfo=UTC)


class Crash(BaseException):
    """The process dies here: no handler of ours sees it."""


class Mortal:
    """Carries messages by mail; `dies` says whether its process then does, and when."""

    def __init__(self, office: PostOffice) -> None:
        self._real = EmailChannel(
            office.url, "billing@shop.example", Messages(), clock=lambda: SENT_AT
        )
        self.dies: Literal["before", "after", "never"] = "never"
        self.name, self.needs_address, self.takes_several = "email", True, True

    def send(self, message: Message, *, permit: Permit) -> None:
        if self.dies != "before":
            self._real.send(message, permit=permit)
        if self.dies != "never":
            raise Crash


@pytest.fixture
def mortal(post_office: PostOffice) -> Mortal:
    return Mortal(post_office)


@pytest.fixture
def writes(
    shop: Shop, post_office: PostOffice, database_url: str, redis_url: str, tmp_path: Path
) -> Iterator[Writing]:
    """Starts the engine with a policy file of that content, and further settings."""
    engines: list[Any] = []

    def start(
        policy: str = "", *, model: Any = None, channel: Any = None, **environment: Any
    ) -> EngineShop:
        if policy:
            file = tmp_path / "policy.toml"
            file.write_text(policy, encoding="utf-8")
            environment["RETRY_ENGINE_CONFIG"] = str(file)
        time = RealTime()
        engine = build_engine(
            shop,
            database_url,
            redis_url,
            time,
            model=model,
            channel=channel,
            SMTP_URL=post_office.url,
            RETRY_ENGINE_MAIL_FROM="billing@shop.example",
            **{"RETRY_ENGINE_PUBLIC_URL": PUBLIC, **environment},
        )
        engines.append(engine)
        return EngineShop(shop, engine, time)

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture
def writing(writes: Writing) -> EngineShop:
    return writes()


@pytest.fixture
def wayward(writes: Writing, mortal: Mortal) -> EngineShop:
    """An engine whose process may die over a message."""
    return writes(channel=mortal)


def failed(here: EngineShop, *script: Any, address: str = ADDRESS, **facts: Any) -> tuple[Any, Any]:
    """(customer, invoice): somebody who can be written to, and whose renewal fails."""
    customer, _ = here.shop.customer_with("succeeded", *script)
    here.shop.stripe.v1.customers.update(customer.id, _maria(**{"email": address, **facts}))
    here.shop.subscribed(customer)
    here.shop.advances(customer, days=31, hours=2)
    here.works()
    return customer, here.shop.newest_invoice(customer)


def in_arrears(
    here: EngineShop,
    *codes: str,
    address: str = ADDRESS,
    prices: tuple[int, ...] = (2000, 9000),
    leave: str = "",
) -> tuple[Any, list[Any]]:
    """(customer, invoices): as `failed`, of one subscription for each of the prices.

    `leave`: actions of that kind stay with the workers.
    """
    customer, _ = here.shop.customer_with(*["succeeded"] * len(prices), *codes)
    v1 = here.shop.stripe.v1
    v1.customers.update(
        customer.id,
        {"email": address, "name": "Maria", "address": {"country": "DE"},
         "preferred_locales": ["de-DE"]},
    )  # fmt: skip
    for number, amount in enumerate(prices):
        price = v1.prices.create(
            {"currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"},
             "product_data": {"name": f"Plan {number}"}}
        )  # fmt: skip
        v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    here.shop.advances(customer, days=31, hours=2)
    here.works(leave=leave)
    open_ = v1.invoices.list({"customer": customer.id, "status": "open"}).data
    assert len(open_) == len(prices)
    return customer, sorted(open_, key=lambda invoice: prices.index(invoice.amount_due))


def _maria(**facts: Any) -> Any:
    german: dict[str, Any] = {"address": {"country": "DE"}, "preferred_locales": ["de-DE"]}
    return {"name": "Maria", **german, **facts}


def subscribed(
    here: EngineShop, *script: Any, expiry: tuple[int, int] = SOON, **facts: Any
) -> tuple[Any, Any]:
    """(customer, subscription): somebody whose card expires at the end of that month."""
    customer, method = here.shop.customer_with(*(script or ("succeeded", "succeeded")))
    v1 = here.shop.stripe.v1
    v1.payment_methods.update(method.id, {"card": {"exp_month": expiry[0], "exp_year": expiry[1]}})
    v1.customers.update(customer.id, _maria(**{"email": ADDRESS, **facts}))
    subscription = here.shop.subscribed(customer)
    here.works()
    return customer, subscription


def words(mail: EmailMessage) -> str:
    """Everything that a reader may see."""
    plain = mail.get_body(("plain",))
    html = mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    return f"{mail['Subject']} {plain.get_content()} {html.get_content()}"


def page_of(mail: EmailMessage) -> str:
    """The path of the recovery page that the mail leads to."""
    found = re.search(rf"{PUBLIC}(/r/[\w-]+)", words(mail))
    assert found is not None
    return found.group(1)


def reader(here: EngineShop) -> TestClient:
    """A browser without scripts."""
    app = create_app(here.engine, clock=lambda: here.time.now.timestamp())  # noqa: PLW0108  # time passes
    return TestClient(app, follow_redirects=False)


def comes(client: TestClient, page: str) -> None:
    """Press the button to pay, and look at Stripe's page: somebody has come."""
    assert client.post(f"{page}/pay").status_code == 303


def pays_at_stripe(
    client: TestClient, page: str, *, number: str = "4242424242424242"
) -> httpx.Response:
    """Press the page's button to pay, and pay with a card where it leads."""
    shown = client.get(page)
    assert f'action="{page}/pay" data-payment' in shown.text, shown.text
    url = client.post(f"{page}/pay").headers["Location"]
    with httpx.Client(follow_redirects=True, trust_env=False) as browser:
        form = browser.get(url)
        action = re.search(r'<form[^>]*action="([^"]*)"[^>]*data-pay', form.text)
        target = httpx.URL(url).join(action.group(1)) if action and action.group(1) else url
        return browser.post(
            target, data={"method": "new", "number": number, "expiry": "12/2031", "cvc": "123"}
        )
