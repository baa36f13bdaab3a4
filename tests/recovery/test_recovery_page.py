"""The page behind a message's link, in a real browser against the sandbox's Stripe.js."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from correspondence import ADDRESS, Writing, failed, subscribed
from engine_shop import EngineShop
from post_office import PostOffice
from sandbox_shop import Shop
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from retry_engine.entrypoints.web.app import create_app

pytestmark = pytest.mark.integration

_PHONE, _DESKTOP = (390, 844), (1280, 900)
_AXE = files("axe_core_python").joinpath("axe.min.js")
# set to look at the pages: each is photographed into that folder
_PICTURES = os.environ.get("RETRY_ENGINE_SCREENSHOTS")


@pytest.fixture
def paging(shop: Shop, writes: Writing) -> Iterator[EngineShop]:
    """An engine whose pages a browser can open."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    public = f"http://127.0.0.1:{listening.getsockname()[1]}"
    here = writes(
        "[offers]\nenabled = true\nfree_days = 10\npause_months = 2\n",
        RETRY_ENGINE_PUBLIC_URL=public,
        STRIPE_PUBLISHABLE_KEY="pk_test_shop",
        RETRY_ENGINE_STRIPE_JS=f"{shop.url}/v3/",
    )
    app = create_app(here.engine, clock=lambda: here.time.now.timestamp())  # noqa: PLW0108
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield here
    server.should_exit = True
    thread.join(timeout=10)
    listening.close()


Opens = Callable[..., None]


@pytest.fixture
def opens(browser: webdriver.Chrome) -> Iterator[Opens]:
    """Opens a mail's link, at the width of a desktop."""
    browser.set_window_size(*_DESKTOP)
    browser.get_log("browser")

    def opened(mail: Any, *, element: bool = True) -> None:
        browser.get(link_in(mail))
        if element:
            waits(browser, "#payment[data-ready]")

    yield opened
    # nothing that the Content-Security-Policy forbids was tried
    broken = [e["message"] for e in browser.get_log("browser") if "Security Policy" in e["message"]]
    browser.get("about:blank")
    assert broken == []


def link_in(mail: Any) -> str:
    text = mail.get_body(("plain",)).get_content()
    return next(str(word) for word in text.split() if "/r/" in word or "/c/" in word)


def waits(browser: webdriver.Chrome, css: str) -> Any:
    wait = WebDriverWait(browser, 20, poll_frequency=0.05)
    return wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, css), f"no {css}")[0]


def heading(browser: webdriver.Chrome, text: str) -> None:
    browser.switch_to.default_content()
    says(browser, "h1", text)


def says(browser: webdriver.Chrome, css: str, text: str) -> None:
    """That text stands there in the end: the page may be on its way to the next one."""
    wait = WebDriverWait(browser, 20, poll_frequency=0.05, ignored_exceptions=[Exception])
    wait.until(
        lambda d: text in d.find_element(By.CSS_SELECTOR, css).text.replace("\xa0", " "),
        f"no {text!r}",
    )


def types(browser: webdriver.Chrome, number: str) -> None:
    browser.switch_to.frame(waits(browser, "#payment-element iframe"))
    for name, text in (("number", number), ("expiry", "12 / 34"), ("cvc", "123")):
        waits(browser, f"[name={name}]").send_keys(text)
    browser.switch_to.default_content()


def presses(browser: webdriver.Chrome, css: str = "#payment button") -> None:
    browser.switch_to.default_content()
    waits(browser, css).click()


def is_accessible(browser: webdriver.Chrome, name: str) -> None:
    """No rule of WCAG 2.2 AA that axe knows is broken, and nothing sticks out at any width."""
    for width, size in (("desktop", _DESKTOP), ("phone", _PHONE)):
        browser.set_window_size(*size)
        if _PICTURES:
            browser.save_screenshot(str(Path(_PICTURES) / f"{name}_{width}.png"))
        overflow = browser.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0, f"{name} at {width}: {overflow} px too wide"
        browser.execute_script(_AXE.read_text(encoding="utf-8"))
        found = browser.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            ".then(r => done(r.violations.map(v => [v.id, v.nodes.map(n => n.html)])))"
        )
        assert found == [], f"{name} at {width}"
    browser.set_window_size(*_DESKTOP)


def first_mail(here: EngineShop, post: PostOffice, *script: Any) -> tuple[Any, Any, Any]:
    customer, invoice = failed(here, *(script or ("lost_card",)))
    here.days_pass(customer, 1, step_hours=3)
    (mail,) = post.to(ADDRESS)
    return customer, invoice, mail


def touches(here: EngineShop, browser: webdriver.Chrome, invoice: Any) -> None:
    """Somebody who only looks is nobody yet; a touch of the page tells that they have come."""
    assert not [m for m in here.case(invoice)["messages"] if m["visited_at"]]
    browser.find_element(By.TAG_NAME, "h1").click()
    WebDriverWait(browser, 20, poll_frequency=0.05).until(
        lambda _: any(m["visited_at"] for m in here.case(invoice)["messages"])
    )


def with_offer(
    here: EngineShop, post: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> tuple[Any, Any, Any]:
    customer, invoice, mail = first_mail(here, post)
    opens(mail)
    touches(here, browser, invoice)
    here.works()
    here.days_pass(customer, 4, step_hours=3)
    return customer, invoice, post.to(ADDRESS)[1]


def default_of(here: EngineShop, customer: Any) -> str | None:
    (subscription,) = here.shop.stripe.v1.subscriptions.list({"customer": customer.id}).data
    found = subscription.default_payment_method
    assert found is None or isinstance(found, str)
    return found


def test_a_new_card_pays_and_takes_the_place_of_the_one_that_failed(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    customer, invoice, mail = first_mail(paging, post_office)
    opens(mail)
    heading(browser, "20,00 $ sind offen")
    is_accessible(browser, "due")
    types(browser, "4242 4242 4242 4242")
    presses(browser)
    heading(browser, "Vielen Dank")
    is_accessible(browser, "paid")
    paging.works()
    case = paging.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "recovered_by_engine")
    failed_with = case["attempts"][0]["payment_method"]
    paid_with = next(a for a in case["attempts"] if a["outcome"] == "succeeded")["payment_method"]
    assert default_of(paging, customer) == paid_with != failed_with
    assert paging.engine_charges(invoice) == []


@pytest.mark.parametrize("answer", ["pass", "fail"])
def test_the_bank_asks_for_its_customer(
    paging: EngineShop,
    post_office: PostOffice,
    browser: webdriver.Chrome,
    opens: Opens,
    answer: str,
) -> None:
    _, invoice, mail = first_mail(paging, post_office)
    opens(mail)
    types(browser, "4000002760003184")
    presses(browser)
    browser.switch_to.frame(waits(browser, "[name=stripe-challenge-frame]"))
    if _PICTURES:
        browser.save_screenshot(str(Path(_PICTURES) / "challenge_desktop.png"))
    waits(browser, f"button[value={answer}]").click()
    browser.switch_to.default_content()
    if answer == "pass":
        heading(browser, "Vielen Dank")
    else:
        told = waits(browser, "#payment-error:not([hidden])")
        assert told.text
        assert waits(browser, "#payment button").is_enabled()
        is_accessible(browser, "declined")
    paging.works()
    assert (paging.case(invoice)["state"] == "closed") == (answer == "pass")


def test_another_kind_of_method_can_pay(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    _, invoice, mail = first_mail(paging, post_office)
    opens(mail)
    browser.switch_to.frame(waits(browser, "#payment-element iframe"))
    tabs = browser.find_elements(By.CSS_SELECTOR, "[role=tab]")
    assert len(tabs) > 1
    next(t for t in tabs if "Card" not in t.text).click()
    for field in browser.find_elements(By.CSS_SELECTOR, "input:not([type=hidden])"):
        if field.is_displayed():
            field.send_keys(_TEXTS.get(field.get_attribute("name") or "", "000123456789"))
    presses(browser)
    heading(browser, "wird bearbeitet")
    is_accessible(browser, "under_way")
    paging.works()
    assert paging.case(invoice)["state"] == "processing"


_TEXTS = {"name": "Maria Example", "email": ADDRESS, "routing": "110000000",
          "routing_number": "110000000"}  # fmt: skip


def test_an_offer_is_taken_and_the_rest_is_paid(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    _, invoice, mail = with_offer(paging, post_office, browser, opens)
    opens(mail)
    is_accessible(browser, "offer")
    presses(browser, "[data-offer] button")
    heading(browser, "16,00 $ sind offen")
    waits(browser, "#payment[data-ready]")
    is_accessible(browser, "taken")
    types(browser, "4242 4242 4242 4242")
    presses(browser)
    heading(browser, "Vielen Dank")
    paging.works()
    assert paging.case(invoice)["close_reason"] == "recovered_by_engine"
    (charge,) = [c for c in paging.shop.ledger(invoice) if c["outcome"] == "succeeded"]
    assert charge["amount"] == 1600


def test_an_offer_that_has_ended_is_not_on_the_page_any_more(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    customer, invoice, mail = with_offer(paging, post_office, browser, opens)
    opens(mail)
    assert browser.find_elements(By.CSS_SELECTOR, "[data-offer]")
    paging.days_pass(customer, 11)
    presses(browser, "[data-offer] button")  # the page was open all the time
    says(browser, ".alert[role=alert]", "gilt nicht mehr")
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-offer]")
    heading(browser, "20,00 $ sind offen")
    is_accessible(browser, "offer_ended")
    assert list(paging.shop.stripe.v1.credit_notes.list({"invoice": invoice.id}).data) == []


def test_who_is_short_of_money_moves_the_day_and_then_takes_a_break(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    customer, invoice, mail = first_mail(
        paging, post_office, "insufficient_funds", "insufficient_funds"
    )
    opens(mail)
    is_accessible(browser, "changes")
    presses(browser, "[data-change=billing_day] button")
    says(browser, ".taken", "nächste Zahlung ist am")
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-change=billing_day]")
    presses(browser, "[data-change=pause] button")
    WebDriverWait(browser, 20, poll_frequency=0.05).until(
        lambda d: len(d.find_elements(By.CSS_SELECTOR, ".taken")) == 2
    )
    is_accessible(browser, "changed")
    (subscription,) = paging.shop.stripe.v1.subscriptions.list({"customer": customer.id}).data
    assert subscription.pause_collection is not None
    assert subscription.trial_end is not None
    assert [c["state"] for c in paging.case(invoice)["changes"]] == ["taken", "taken"]


def test_a_link_that_is_used_again_says_that_it_is_paid(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    _, invoice, mail = first_mail(paging, post_office)
    opens(mail)
    types(browser, "4242 4242 4242 4242")
    presses(browser)
    heading(browser, "Vielen Dank")
    paging.works()
    opens(mail, element=False)
    heading(browser, "Vielen Dank")
    assert not browser.find_elements(By.CSS_SELECTOR, "#payment, form, a[rel=payment]")
    assert len([c for c in paging.shop.ledger(invoice) if c["outcome"] == "succeeded"]) == 1


def test_a_link_shows_its_own_bill_and_nobodys_name(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    _, invoice, mail = first_mail(paging, post_office)
    other, _ = failed(paging, "lost_card", address="paul@example.com")
    paging.days_pass(other, 1, step_hours=3)
    (theirs,) = post_office.to("paul@example.com")
    opens(theirs)
    page = browser.page_source
    assert "Maria" not in page
    assert ADDRESS not in page
    assert invoice.id not in page
    secret = paging.engine.gateway.invoice_to_pay("", invoice.id).client_secret
    assert secret is not None
    assert secret not in page
    token = link_in(mail)
    browser.get(token[:-4] + "AAAA")
    assert "not valid" in browser.page_source


def test_a_card_is_added_before_the_renewal(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    customer, subscription = subscribed(paging)
    paging.days_pass(customer, 28, step_hours=6)
    (mail,) = post_office.to(ADDRESS)
    opens(mail, element=False)
    heading(browser, "Hinterlegen Sie eine Karte")
    is_accessible(browser, "card_wanted")
    presses(browser, "[data-begin] button")
    waits(browser, "#payment[data-ready]")
    is_accessible(browser, "card_form")
    types(browser, "4242 4242 4242 4242")
    presses(browser)
    heading(browser, "Vielen Dank")
    is_accessible(browser, "card_added")
    before = default_of(paging, customer)
    paging.works()
    assert default_of(paging, customer) not in (None, before)
    paging.days_pass(customer, 5)
    renewed = paging.shop.newest_invoice(customer)
    assert (renewed.status, renewed.billing_reason) == ("paid", "subscription_cycle")
    assert subscription is not None


def test_the_page_can_be_used_with_the_keyboard_alone(
    paging: EngineShop, post_office: PostOffice, browser: webdriver.Chrome, opens: Opens
) -> None:
    _, _, mail = with_offer(paging, post_office, browser, opens)
    opens(mail)
    reached = []
    for _ in range(12):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        browser.switch_to.default_content()
        active = browser.switch_to.active_element
        reached.append(active.tag_name)
        if active.find_elements(By.XPATH, "./ancestor::form[@data-payment]"):
            reached[-1] = "way out"
        ring = active.value_of_css_property("outline-style")
        assert active.tag_name not in ("button", "a") or ring == "solid"
        if reached[-1] == "way out":
            break
    assert reached[0] == "button"  # the offer comes first
    assert "iframe" in reached
    assert reached[-1] == "way out"
