"""Stripe's pages for customers and the stand-in of Stripe.js, over HTTP and in a real browser."""

import html
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import stripe
from sandbox_shop import Shop
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.integration

CARD = {"method": "new", "number": "4242424242424242", "expiry": "12/34", "cvc": "123"}
CHALLENGED = {**CARD, "number": "4000002760003184"}


def page(url: str, **form: str) -> httpx.Response:
    with httpx.Client(follow_redirects=True) as http:
        return http.post(url, data=form) if form else http.get(url)


def status(shop: Shop, invoice: Any) -> str:
    return str(shop.stripe.v1.invoices.retrieve(invoice.id).status)


def test_the_hosted_page_says_what_is_owed_and_takes_a_card(shop: Shop) -> None:
    customer, _, invoice = shop.failed_renewal("insufficient_funds")
    shop.stripe.v1.credit_notes.create({"invoice": invoice.id, "amount": 500})
    seen = page(invoice.hosted_invoice_url)
    assert 'data-amount="1500"' in seen.text
    assert "$15.00" in seen.text
    assert "script" not in seen.headers["content-security-policy"]
    assert "is paid" in page(invoice.hosted_invoice_url, **CARD, save="true").text
    assert status(shop, invoice) == "paid"
    methods = shop.stripe.v1.customers.payment_methods.list(customer.id).data
    settings = shop.stripe.v1.customers.retrieve(customer.id).invoice_settings
    assert settings is not None
    assert settings.default_payment_method == methods[0].id
    assert shop.ledger(invoice)[-1]["source"] == "customer"


def test_a_declined_card_is_said_on_the_page_and_not_kept(shop: Shop) -> None:
    customer, method, invoice = shop.failed_renewal("insufficient_funds")
    declined = {**CARD, "number": "4000000000009995"}
    answer = page(invoice.hosted_invoice_url, **declined, save="true")
    assert (answer.status_code, status(shop, invoice)) == (402, "open")
    assert "insufficient funds" in answer.text
    methods = shop.stripe.v1.customers.payment_methods.list(customer.id).data
    assert [m.id for m in methods] == [method.id]


def test_a_challenge_that_is_passed_pays_and_one_that_fails_does_not(shop: Shop) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    asked = page(invoice.hosted_invoice_url, **CHALLENGED)
    assert "Your bank asks" in asked.text
    back = page(str(asked.url), answer="fail")
    assert "unable to authenticate" in html.unescape(back.text)
    assert status(shop, invoice) == "open"
    asked = page(invoice.hosted_invoice_url, **CHALLENGED)
    assert "is paid" in page(str(asked.url), answer="pass").text
    assert status(shop, invoice) == "paid"
    shop.until_quiet()
    assert "payment_intent.requires_action" in shop.inbox.types()


def test_a_page_that_is_sent_twice_charges_once(shop: Shop) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    for _ in range(2):
        page(invoice.hosted_invoice_url, **CARD)
    outcomes = [row["outcome"] for row in shop.ledger(invoice)]
    assert outcomes.count("succeeded") == 1


def test_an_unknown_page_tells_nothing(shop: Shop) -> None:
    for path in ("/i/acct_1/test_in_1", f"/i/{shop.sandbox.platform.id}/test_in_1",
                 f"/challenge/{shop.sandbox.platform.id}/pi_1_secret_1"):  # fmt: skip
        assert page(shop.url + path).status_code == 404


def test_the_portal_takes_a_card_ends_a_subscription_and_goes_stale(shop: Shop) -> None:
    customer, _, _ = shop.failed_renewal("insufficient_funds")
    session = shop.stripe.v1.billing_portal.sessions.create({"customer": customer.id})
    assert "Your account" in page(session.url).text
    assert "saved" in page(session.url, **{**CARD, "do": "card"}).text
    subscription = shop.stripe.v1.subscriptions.list({"customer": customer.id}).data[0]
    page(session.url, do="cancel", subscription=subscription.id)
    assert shop.stripe.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    shop.wall.passes(hours=2)
    assert page(session.url).status_code == 404


# -- with a publishable key


def secret_of(shop: Shop, invoice: Any) -> str:
    found = shop.stripe.v1.invoices.retrieve(invoice.id, {"expand": ["confirmation_secret"]})
    assert found.confirmation_secret is not None
    return str(found.confirmation_secret.client_secret)


def publicly(shop: Shop, path: str, **params: str) -> httpx.Response:
    headers = {"Authorization": "Bearer pk_test_1"}
    return shop.http.post(path, data=params, headers=headers)


def test_a_publishable_key_confirms_with_the_secret_and_reads_nothing_else(shop: Shop) -> None:
    customer, _, invoice = shop.failed_renewal("insufficient_funds")
    secret = secret_of(shop, invoice)
    path = f"/v1/payment_intents/{secret.partition('_secret_')[0]}/confirm"
    data = {"payment_method_data[type]": "card", "payment_method_data[card][token]": "tok_visa"}
    assert publicly(shop, path, client_secret="guessed", **data).status_code == 404
    assert publicly(shop, path, **data).status_code == 404
    done = publicly(shop, path, client_secret=secret, **data).json()
    assert (done["status"], "customer" in done) == ("succeeded", False)
    assert status(shop, invoice) == "paid"
    refused = shop.http.get(
        f"/v1/customers/{customer.id}", headers={"Authorization": "Bearer pk_test_1"}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "secret_key_required")
    with pytest.raises(stripe.AuthenticationError):
        shop.client("pk_test_1").v1.invoices.list()


def test_a_setup_intent_keeps_a_card_after_its_challenge(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    intent = shop.stripe.v1.setup_intents.create({"customer": customer.id})
    confirmed = shop.stripe.v1.setup_intents.confirm(
        intent.id, {"payment_method": "pm_card_authenticationRequiredOnSetup",
                    "return_url": "https://shop.example/back"}
    )  # fmt: skip
    assert confirmed.status == "requires_action"
    assert confirmed.next_action is not None
    assert confirmed.next_action.redirect_to_url is not None
    url = str(confirmed.next_action.redirect_to_url.url)
    answer = httpx.post(url, data={"answer": "pass"})
    assert "redirect_status=succeeded" in answer.headers["location"]
    assert shop.stripe.v1.setup_intents.retrieve(intent.id).status == "succeeded"
    again = shop.stripe.v1.setup_intents.create({"customer": customer.id})
    with pytest.raises(stripe.CardError):
        shop.stripe.v1.setup_intents.confirm(again.id, {"payment_method": "pm_card_chargeDeclined"})


# -- in a browser

_SHOP = """<!doctype html><html lang="en"><head><title>Pay</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<script src="{sandbox}/v3/"></script></head><body><main><h1>Pay</h1>
<form id="pay"><div id="element"></div><button>Pay now</button></form>
<p id="result" role="status"></p></main>
<script src="/page.js"></script></body></html>"""
_SCRIPT = """
const stripe = Stripe("pk_test_shop");
const elements = stripe.elements({settings});
const payment = elements.create("payment", {{paymentMethodOrder: {order}}});
const result = document.getElementById("result");
payment.on("ready", () => {{ result.textContent = "ready"; }});
payment.on("loaderror", (e) => {{ result.textContent = "loaderror " + e.error.code; }});
payment.mount("#element");
document.getElementById("pay").addEventListener("submit", async (event) => {{
  event.preventDefault();
  const done = await stripe.{confirm}({{elements, redirect: "{redirect}",
    confirmParams: {{return_url: location.origin + "/back"}}}});
  result.textContent = done.error ? "error " + (done.error.code || "") + " " + done.error.message
    : (done.paymentIntent || done.setupIntent).status;
}});
"""

Opens = Callable[..., None]


@pytest.fixture
def opens(shop: Shop, browser: webdriver.Chrome) -> Iterator[Opens]:
    """Opens a merchant's page with a Payment Element under a strict Content-Security-Policy."""
    served: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            body = served.get(path, "<title>Back</title><h1>Back</h1>").encode()
            self.send_response(200)
            kind = "text/javascript" if path.endswith(".js") else "text/html; charset=utf-8"
            self.send_header("Content-Type", kind)
            self.send_header(
                "Content-Security-Policy",
                f"default-src 'none'; script-src 'self' {shop.url}; frame-src {shop.url}; "
                f"connect-src {shop.url}; style-src 'none'; base-uri 'none'; form-action 'self'",
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def opened(
        *, confirm: str = "confirmPayment", redirect: str = "if_required", order: str = "[]",
        **settings: str,
    ) -> None:  # fmt: skip
        served["/"] = _SHOP.format(sandbox=shop.url)
        served["/page.js"] = _SCRIPT.format(
            settings=settings, order=order, confirm=confirm, redirect=redirect
        )
        browser.get_log("browser")
        browser.get(f"http://127.0.0.1:{server.server_port}/")
        until(browser, "ready")

    yield opened
    # nothing that the policy forbids was tried
    broken = [e["message"] for e in browser.get_log("browser") if "Security Policy" in e["message"]]
    browser.get("about:blank")
    server.shutdown()
    server.server_close()
    assert broken == []


def until(browser: webdriver.Chrome, text: str) -> str:
    def seen(driver: Any) -> str | None:
        found = str(driver.find_element(By.ID, "result").text)
        return found if text in found else None

    return str(WebDriverWait(browser, 15, poll_frequency=0.05).until(seen, f"no {text!r}"))


def in_element(browser: webdriver.Chrome) -> None:
    browser.switch_to.default_content()
    browser.switch_to.frame(browser.find_element(By.CSS_SELECTOR, "#element iframe"))


def types(browser: webdriver.Chrome, number: str) -> None:
    in_element(browser)
    for name, text in (("number", number), ("expiry", "12 / 34"), ("cvc", "123")):
        browser.find_element(By.NAME, name).send_keys(text)


def pays(browser: webdriver.Chrome) -> None:
    browser.switch_to.default_content()
    browser.find_element(By.CSS_SELECTOR, "#pay button").click()


def answers_challenge(browser: webdriver.Chrome, answer: str) -> None:
    browser.switch_to.default_content()
    wait = WebDriverWait(browser, 15, poll_frequency=0.05)
    wait.until(lambda d: d.find_elements(By.NAME, "stripe-challenge-frame"))
    browser.switch_to.frame(browser.find_element(By.NAME, "stripe-challenge-frame"))
    button = f"button[value={answer}]"
    wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, button))
    browser.find_element(By.CSS_SELECTOR, button).click()
    browser.switch_to.default_content()


def test_a_card_in_the_payment_element_pays_the_invoice(
    shop: Shop, browser: webdriver.Chrome, opens: Opens
) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    opens(clientSecret=secret_of(shop, invoice), order='["us_bank_account", "card"]')
    in_element(browser)
    tabs = [tab.text for tab in browser.find_elements(By.CSS_SELECTOR, "[role=tab]")]
    assert tabs == ["US bank account", "Card"]
    browser.find_element(By.ID, "tab-card").click()
    pays(browser)
    assert "incomplete_number" in until(browser, "error")
    types(browser, "4242 4242 4242 4242")
    pays(browser)
    until(browser, "succeeded")
    assert status(shop, invoice) == "paid"


def test_a_decline_is_told_to_the_page(shop: Shop, browser: webdriver.Chrome, opens: Opens) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    opens(clientSecret=secret_of(shop, invoice))
    types(browser, "4000000000009995")
    pays(browser)
    assert "card_declined Your card has insufficient funds" in until(browser, "error")
    assert status(shop, invoice) == "open"


@pytest.mark.parametrize(("answer", "shown"), [("pass", "succeeded"), ("fail", "error")])
def test_a_challenge_opens_over_the_page(
    shop: Shop, browser: webdriver.Chrome, opens: Opens, answer: str, shown: str
) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    opens(clientSecret=secret_of(shop, invoice))
    types(browser, "4000002760003184")
    pays(browser)
    answers_challenge(browser, answer)
    until(browser, shown)
    assert status(shop, invoice) == ("paid" if answer == "pass" else "open")


def test_a_page_that_wants_a_redirect_gets_the_result_in_its_address(
    shop: Shop, browser: webdriver.Chrome, opens: Opens
) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    opens(clientSecret=secret_of(shop, invoice), redirect="always")
    types(browser, "4242424242424242")
    pays(browser)
    WebDriverWait(browser, 15).until(lambda d: "/back" in d.current_url)
    assert re.search(r"payment_intent=pi_\w+&.*redirect_status=succeeded", browser.current_url)


def test_a_saved_method_is_shown_to_who_has_a_customer_session(
    shop: Shop, browser: webdriver.Chrome, opens: Opens
) -> None:
    customer, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.stripe.v1.payment_methods.update(method.id, {"allow_redisplay": "always"})
    session = shop.stripe.v1.customer_sessions.create(
        {"customer": customer.id,
         "components": {"payment_element": {
             "enabled": True, "features": {"payment_method_redisplay": "enabled"}}}}
    )  # fmt: skip
    opens(clientSecret=secret_of(shop, invoice), customerSessionClientSecret=session.client_secret)
    in_element(browser)
    browser.find_element(By.CSS_SELECTOR, f"input[value={method.id}]").click()
    pays(browser)
    until(browser, "succeeded")
    assert shop.ledger(invoice)[-1]["payment_method"] == method.id


def test_a_card_is_set_up_for_later(shop: Shop, browser: webdriver.Chrome, opens: Opens) -> None:
    customer, _ = shop.customer_with()
    intent = shop.stripe.v1.setup_intents.create({"customer": customer.id})
    opens(confirm="confirmSetup", clientSecret=str(intent.client_secret))
    types(browser, "4000002500003155")
    pays(browser)
    answers_challenge(browser, "pass")
    until(browser, "succeeded")
    methods = shop.stripe.v1.customers.payment_methods.list(customer.id).data
    assert len(methods) == 2


def test_the_hosted_page_works_in_a_browser_that_runs_no_script(
    shop: Shop, browser: webdriver.Chrome
) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(str(invoice.hosted_invoice_url))
        for name, text in (("number", "4000002760003184"), ("expiry", "12/34"), ("cvc", "123")):
            browser.find_element(By.NAME, name).send_keys(text)
        browser.find_element(By.CSS_SELECTOR, "form[data-pay] button").click()
        wait = WebDriverWait(
            browser, 15, poll_frequency=0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        wait.until(lambda d: d.find_elements(By.CSS_SELECTOR, "button[value=pass]"))
        browser.find_element(By.CSS_SELECTOR, "button[value=pass]").click()
        wait.until(lambda d: "is paid" in d.find_element(By.TAG_NAME, "h1").text)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert status(shop, invoice) == "paid"
