"""The sandbox as Stripe's own library meets it, over HTTP."""

import gzip
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe
from sandbox_shop import SECRET, Shop
from stripe_schema import object_errors, parameters_of, params_errors, required_fields

from retry_engine.sandbox.api.not_simulated import FOREIGN_METHODS, NOT_SIMULATED
from retry_engine.sandbox.api.routes import ROUTES

pytestmark = pytest.mark.integration


def pay(shop: Shop, invoice: Any, method: Any, key: str) -> Any:
    options: Any = {"idempotency_key": key}
    return shop.stripe.v1.invoices.pay(invoice.id, {"payment_method": method.id}, options)


def test_a_failed_renewal_is_declined_again_and_then_paid(shop: Shop) -> None:
    customer, method, invoice = shop.failed_renewal(
        "insufficient_funds", {"decline_code": "do_not_honor", "network_decline_code": "05"}
    )
    assert (invoice.status, invoice.attempt_count, invoice.attempted) == ("open", 1, True)
    with pytest.raises(stripe.CardError) as declined:
        pay(shop, invoice, method, "first")
    error = declined.value.error
    assert error is not None
    assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
    assert (error.decline_code, error.network_decline_code) == ("do_not_honor", "05")
    assert error.charge is not None
    assert error.payment_intent is not None
    changed = shop.stripe.v1.payment_methods.update(
        method.id, {"metadata": {"sandbox_script": '["succeeded"]'}}
    )
    assert pay(shop, invoice, changed, "second").status == "paid"
    again = shop.stripe.v1.invoices.retrieve(invoice.id)
    # ours do not count in Stripe's own schedule
    assert (again.amount_remaining, again.attempt_count) == (0, 1)
    subscription = shop.stripe.v1.subscriptions.list({"customer": customer.id}).data[0]
    assert subscription.status == "active"


def test_paying_a_paid_invoice_is_a_400_without_a_code(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    pay(shop, invoice, method, "a")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        pay(shop, invoice, method, "b")
    assert (refused.value.http_status, refused.value.code) == (400, None)
    assert len(shop.ledger(invoice)) == 2


def test_a_card_that_wants_authentication_waits_for_the_customer(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("requires_action")
    with pytest.raises(stripe.CardError) as declined:
        pay(shop, invoice, method, "a")
    assert declined.value.code == "invoice_payment_intent_requires_action"
    shop.until_quiet()
    assert "invoice.payment_action_required" in shop.inbox.types()
    acted = shop.http.post("/_sandbox/act", json={"invoice": invoice.id, "act": "pay_on_page"})
    assert acted.json()["status"] == "paid"


def test_a_bank_debit_is_open_first_and_fails_days_later(shop: Shop) -> None:
    customer, method, invoice = shop.failed_renewal("insufficient_funds", kind="sepa_debit")
    assert shop.stripe.v1.invoices.retrieve(invoice.id).status == "open"
    shop.advances(customer, days=5)
    failed = shop.stripe.v1.invoices.retrieve(invoice.id)
    assert (failed.status, failed.attempted) == ("open", True)
    shop.stripe.v1.invoices.update(invoice.id, {"auto_advance": False})
    answer = pay(shop, failed, method, "again")
    assert answer.status == "open"
    with pytest.raises(stripe.InvalidRequestError):
        pay(shop, failed, method, "while it is under way")
    shop.advances(customer, days=6)
    charges = shop.stripe.v1.charges.list({"customer": customer.id}).data
    assert charges[0].status == "failed"


def test_stripe_retries_after_3_5_and_7_days_unless_told_not_to(shop: Shop) -> None:
    customer, _, invoice = shop.failed_renewal("insufficient_funds")
    failed_at = shop.ledger(invoice)[0]["at"]
    shop.advances(customer, days=10)
    after = [row["at"] - failed_at for row in shop.ledger(invoice)[1:]]
    assert after == [int(timedelta(days=d).total_seconds()) for d in (3, 5, 7)]
    ended = shop.stripe.v1.invoices.retrieve(invoice.id)
    assert (ended.attempt_count, ended.next_payment_attempt) == (4, None)


def test_without_auto_advance_stripe_leaves_the_invoice_alone(shop: Shop) -> None:
    customer, _, invoice = shop.failed_renewal("insufficient_funds")
    taken = shop.stripe.v1.invoices.update(invoice.id, {"auto_advance": False})
    assert taken.next_payment_attempt is None
    shop.advances(customer, days=6)
    assert len(shop.ledger(invoice)) == 1
    back = shop.stripe.v1.invoices.update(invoice.id, {"auto_advance": True})
    assert back.next_payment_attempt is not None
    shop.advances(customer, days=2)
    assert len(shop.ledger(invoice)) == 2


def test_a_lost_card_is_counted_but_not_charged_again_by_stripe(shop: Shop) -> None:
    customer, _, invoice = shop.failed_renewal("lost_card")
    shop.advances(customer, days=10)
    assert shop.stripe.v1.invoices.retrieve(invoice.id).attempt_count == 4
    assert len(shop.ledger(invoice)) == 1


def test_an_uncollectible_invoice_can_be_paid_and_a_void_one_cannot(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "do_not_honor", "succeeded")
    shop.stripe.v1.invoices.mark_uncollectible(invoice.id)
    with pytest.raises(stripe.CardError):
        pay(shop, invoice, method, "a")
    assert shop.stripe.v1.invoices.retrieve(invoice.id).status == "uncollectible"
    assert pay(shop, invoice, method, "b").status == "paid"
    _, other, voided = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.stripe.v1.invoices.void_invoice(voided.id)
    with pytest.raises(stripe.InvalidRequestError):
        pay(shop, voided, other, "c")


def test_a_credit_note_lowers_what_remains(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.stripe.v1.credit_notes.create({"invoice": invoice.id, "amount": 500})
    assert shop.stripe.v1.invoices.retrieve(invoice.id).amount_remaining == 1500
    assert pay(shop, invoice, method, "a").amount_paid == 1500


def test_every_object_and_every_event_has_the_shape_of_the_present_api(shop: Shop) -> None:
    customer, method, invoice = shop.failed_renewal("insufficient_funds", "do_not_honor")
    with pytest.raises(stripe.CardError):
        pay(shop, invoice, method, "a")
    shop.http.post("/_sandbox/act", json={"customer": customer.id, "act": "update_card"})
    shop.http.post("/_sandbox/act", json={"customer": customer.id, "act": "pay_on_page"})
    for act in ("dispute", "early_fraud_warning", "card_automatically_updated"):
        shop.http.post("/_sandbox/act", json={"customer": customer.id, "act": act})
    debit, _, _ = shop.failed_renewal("insufficient_funds", kind="sepa_debit")
    shop.http.post("/_sandbox/act", json={"customer": debit.id, "act": "cancel"})
    shop.sigma_runs("Report", csv="id\n1\n")
    shop.sigma_runs("Report", status="failed")
    shop.until_quiet()
    wrong: list[str] = []
    for account in shop.sandbox.accounts.values():
        for table, rows in account.tables.items():
            if table in ("line_item", "balance_transaction"):
                continue
            for thing in rows.values():
                wrong += object_errors(thing)
    for event in shop.inbox.events():
        wrong += object_errors(event) + object_errors(event["data"]["object"])
    assert wrong == []


def test_every_request_of_the_story_answers_what_the_library_can_read(shop: Shop) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    run = shop.sigma_runs("Report", csv="id\n1\n")
    wrong: list[str] = []
    paths = {
        "/v1/account": {},
        "/v1/invoices": {"limit": "3", "expand[]": "data.payments"},
        f"/v1/invoices/{invoice.id}": {"expand[]": "parent.subscription_details.subscription"},
        "/v1/invoice_payments": {
            "invoice": invoice.id,
            "expand[]": "data.payment.payment_intent.latest_charge",
        },
        "/v1/charges": {},
        "/v1/events": {"limit": "100"},
        "/v1/payment_methods": {},
        "/v1/subscriptions": {},
        "/v1/webhook_endpoints": {},
        "/v1/sigma/scheduled_query_runs": {},
        f"/v1/sigma/scheduled_query_runs/{run['id']}": {},
        f"/v1/files/{run['file']['id']}": {},
    }
    for path, query in paths.items():
        answer = shop.http.get(path, params=query, headers={"Authorization": "Bearer sk_test_1"})
        assert answer.status_code == 200, answer.text
        wrong += object_errors(answer.json())
    assert wrong == []


def test_a_failed_payment_brings_its_companions_and_all_are_signed(shop: Shop) -> None:
    shop.failed_renewal("insufficient_funds")
    companions = {
        "charge.failed", "payment_intent.payment_failed", "invoice.payment_failed",
        "invoice.updated", "customer.subscription.updated",
    }  # fmt: skip
    assert companions <= shop.inbox.types()
    for payload, header in shop.inbox.received:
        # the sandbox's real time stands still in tests, so its age is not asked for
        event = stripe.Webhook.construct_event(payload, header, SECRET, tolerance=0)
        assert event.api_version == "2026-10-28.endive"
    failed = [e for e in shop.inbox.events() if e["type"] == "invoice.payment_failed"]
    assert [e["request"] for e in failed] == [{"id": None, "idempotency_key": None}]
    assert "payments" not in failed[0]["data"]["object"]


def test_an_event_names_the_request_that_caused_it(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    pay(shop, invoice, method, "ours")
    shop.until_quiet()
    paid = [e for e in shop.inbox.events() if e["type"] == "invoice.paid"]
    assert "ours" in [e["request"]["idempotency_key"] for e in paid]


def test_an_event_that_was_not_taken_comes_again(shop: Shop) -> None:
    shop.inbox.refuse = 3
    shop.failed_renewal("insufficient_funds")
    ids = {event["id"] for event in shop.inbox.events()}
    assert ids == set(shop.sandbox.platform.tables["event"])


def test_the_same_key_gives_the_same_decline_and_charges_once(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "do_not_honor", "succeeded")
    charges = []
    for _ in range(3):
        with pytest.raises(stripe.CardError) as declined:
            pay(shop, invoice, method, "same")
        assert declined.value.error is not None
        charges.append(declined.value.error.charge)
    assert len(set(charges)) == 1
    assert len(shop.ledger(invoice)) == 2


def test_a_key_with_other_parameters_is_refused(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "do_not_honor")
    with pytest.raises(stripe.CardError):
        pay(shop, invoice, method, "same")
    with pytest.raises(stripe.IdempotencyError):
        shop.stripe.v1.invoices.pay(invoice.id, {}, {"idempotency_key": "same"})


def test_a_key_runs_again_after_a_day(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "do_not_honor", "succeeded")
    with pytest.raises(stripe.CardError):
        pay(shop, invoice, method, "same")
    shop.wall.passes(hours=24)
    assert pay(shop, invoice, method, "same").status == "paid"


def test_nothing_is_stored_under_a_key_whose_request_was_invalid(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    bad: Any = {"payment_metod": method.id}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.stripe.v1.invoices.pay(invoice.id, bad, {"idempotency_key": "k"})
    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "payment_metod")
    assert pay(shop, invoice, method, "k").status == "paid"


def test_two_at_once_meet_a_lock_and_only_one_charges(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.faults(api=[{"fault": "latency", "seconds": 0.4, "on": "POST */pay", "times": 2}])

    def attempt(key: str) -> str:
        try:
            return str(pay(shop, invoice, method, key).status)
        except stripe.RateLimitError as error:
            return str(error.error.code if error.error else None)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, ["a", "b"])) == ["lock_timeout", "paid"]
    assert len(shop.ledger(invoice)) == 2


def test_the_same_key_twice_at_once_is_a_409(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.faults(api=[{"fault": "latency", "seconds": 0.4, "on": "POST */pay", "times": 2}])

    def attempt(key: str) -> str:
        try:
            return str(pay(shop, invoice, method, key).status)
        except stripe.APIError as error:
            return f"{error.http_status} {error.error.code if error.error else None}"

    with ThreadPoolExecutor(2) as pool:
        found = sorted(pool.map(attempt, ["a", "a"]))
    assert found == ["409 idempotency_key_in_use", "paid"]


@pytest.mark.parametrize(
    ("fault", "error", "charged"),
    [
        ("rate_limit", stripe.RateLimitError, False),
        ("lock_timeout", stripe.RateLimitError, False),
        ("conflict", stripe.APIError, False),
        ("error_before", stripe.APIError, False),
        ("error_after", stripe.APIError, True),
        ("drop_before", stripe.APIConnectionError, False),
        ("drop_after", stripe.APIConnectionError, True),
    ],
)
def test_each_fault_looks_like_stripes_and_is_honest_about_the_money(
    shop: Shop, fault: str, error: type[Exception], charged: bool
) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.faults(api=[{"fault": fault, "on": "POST */pay"}])
    with pytest.raises(error):
        pay(shop, invoice, method, "k")
    assert shop.stripe.v1.invoices.retrieve(invoice.id).status == ("paid" if charged else "open")
    if fault == "error_after":  # Stripe keeps a 500 under the key as well
        with pytest.raises(stripe.APIError):
            pay(shop, invoice, method, "k")
    else:
        assert pay(shop, invoice, method, "k").status == "paid"
    assert len(shop.ledger(invoice)) == 2


def test_a_restricted_key_is_told_what_it_may_not(shop: Shop) -> None:
    shop.faults(forbidden=["webhook_endpoints", "invoices:write"])
    with pytest.raises(stripe.PermissionError):
        shop.stripe.v1.webhook_endpoints.list()
    shop.stripe.v1.invoices.list()


def test_a_wrong_key_and_an_unknown_path_are_refused_in_stripes_shape(shop: Shop) -> None:
    with pytest.raises(stripe.AuthenticationError):
        shop.client("nonsense").v1.invoices.list()
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        shop.stripe.v1.quotes.list()
    assert unknown.value.http_status == 404


def test_pages_go_through_everything_once(shop: Shop) -> None:
    made = [shop.stripe.v1.customers.create({"name": str(n)}).id for n in range(7)]
    listed = shop.stripe.v1.customers.list({"limit": 3})
    assert [c.id for c in listed.auto_paging_iter()] == made[::-1]
    page = shop.stripe.v1.customers.list({"limit": 2, "ending_before": made[0]})
    assert [c.id for c in page.data] == [made[2], made[1]]


def test_an_expansion_of_five_levels_is_refused(shop: Shop) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    expand = ["payments.data.payment.payment_intent.latest_charge"]
    with pytest.raises(stripe.InvalidRequestError):
        shop.stripe.v1.invoices.retrieve(invoice.id, {"expand": expand})


def test_charges_are_listed_back_to_a_time_page_by_page(shop: Shop) -> None:
    shop.failed_renewal("insufficient_funds", "succeeded")
    _, _, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    charges = shop.stripe.v1.charges
    everything = [c.id for c in charges.list({"limit": 100}).data]
    paged = charges.list({"limit": 1}).auto_paging_iter()
    assert [c.id for c in paged] == everything
    failed_at = shop.ledger(invoice)[0]["at"]
    late = charges.list({"created": {"gte": failed_at}})
    assert {c.created for c in late.data} == {failed_at}
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        charges.list({"starting_after": "ch_gone"})
    assert unknown.value.code == "resource_missing"


def test_a_sigma_result_is_fetched_with_the_key_and_as_it_is(shop: Shop) -> None:
    run = shop.sigma_runs("Report", csv="id,name\n1,Zoë\n")
    path = f"/v1/files/{run['file']['id']}/contents"
    assert shop.http.get(path).status_code == 401
    key = {"Authorization": "Bearer sk_test_1"}
    found = shop.http.get(path, headers=key)
    assert found.text == "id,name\n1,Zoë\n"
    assert found.headers["content-type"].startswith("text/csv")
    gone = shop.http.get("/v1/files/file_gone/contents", headers=key)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "resource_missing")
    shop.faults(forbidden=["files"])
    assert shop.http.get(path, headers=key).status_code == 403


def test_a_sigma_run_that_failed_has_no_file(shop: Shop) -> None:
    run = shop.sigma_runs("Report", status="timed_out", error="Too slow.")
    found = shop.stripe.v1.sigma.scheduled_query_runs.retrieve(run["id"])
    assert (found.status, found.file) == ("timed_out", None)
    assert found.error is not None
    assert found.error.message == "Too slow."


def test_connected_accounts_are_kept_apart(shop: Shop) -> None:
    options: Any = {"stripe_account": "acct_other"}
    mine = shop.stripe.v1.customers.create({"name": "mine"})
    theirs = shop.stripe.v1.customers.create({"name": "theirs"}, options)
    assert [c.id for c in shop.stripe.v1.customers.list().data] == [mine.id]
    assert [c.id for c in shop.stripe.v1.customers.list({}, options).data] == [theirs.id]


def test_webhooks_are_duplicated_on_demand(shop: Shop) -> None:
    shop.faults(webhooks={"duplicate": 1.0, "drop_first": 0.5})
    shop.failed_renewal("insufficient_funds")
    deliveries = Counter(event["id"] for event in shop.inbox.events())
    assert deliveries
    assert min(deliveries.values()) >= 2  # more where an answer was lost on the way


def test_a_malformed_steering_request_is_told_what_is_wrong(shop: Shop) -> None:
    answer = shop.http.post("/_sandbox/faults", json={"api": [{"fault": "gremlins"}]})
    assert answer.status_code == 400
    assert "rate_limit" in json.dumps(answer.json())


def test_the_shared_schema_agrees_where_it_is_present() -> None:
    path = Path(__file__).parents[3] / "shared" / "stripe" / "stripe-python-16.1.0.schema.json.gz"
    if not path.exists():
        pytest.skip("the shared schema beside the project is not here")
    shared = json.loads(gzip.decompress(path.read_bytes()))
    for kind, name in shared["x-objects"].items():
        ours = required_fields(kind)
        if ours is not None:
            assert ours == set(shared["$defs"][name].get("required", ())), kind


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("InvoicePayParams", {"payment_method": "pm_1", "off_session": True}, {"pm": "pm_1"}),
        ("InvoiceUpdateParams", {"auto_advance": False}, {"auto_advance": "no"}),
        ("ChargeListParams", {"customer": "cus_1", "created": {"gte": 1}}, {"status": "failed"}),
    ],
)
def test_what_we_send_is_what_the_api_takes(
    name: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    assert params_errors(name, good) == []
    assert params_errors(name, bad) != []


def test_every_parameter_that_the_sandbox_takes_is_one_of_the_apis() -> None:
    wrong: list[str] = []
    for route in ROUTES:
        known = parameters_of(route.method, route.pattern)
        if known is not None:
            wrong += [f"{route.method} {route.pattern}: {p}" for p in set(route.spec) - known]
    assert wrong == []


def test_every_documented_parameter_is_taken_or_refused_by_name() -> None:
    untold: list[str] = []
    for route in ROUTES:
        documented = parameters_of(route.method, route.pattern) or set()
        left = documented - set(route.spec) - NOT_SIMULATED - FOREIGN_METHODS
        untold += [f"{route.method} {route.pattern}: {name}" for name in left]
    assert untold == []


MALFORMED = {
    "/v1/customers": ["payment_method[a]=b", "invoice_settings=x", "source[number]=x"],
    "/v1/payment_methods": ["type=card&card[token]=tok_visa&billing_details[address]=z"],
    "/v1/subscriptions": [
        "items[0]=b", "items[0][quantity]=x", "trial_end=x", "trial_settings[end_behavior]=z",
        "cancel_at=x", "discounts[0]=x", "payment_settings[colour]=x",
    ],
    "/v1/invoiceitems": ["period[a]=b", "quantity=x", "pricing=x", "unit_amount_decimal=x"],
    "/v1/invoices": ["due_date=x", "days_until_due=3", "collection_method=x"],
    "/v1/payment_intents": [
        "amount=-5&currency=usd", "amount=5&currency=x", "capture_method=x&amount=5&currency=usd",
        "payment_method_types[0][a]=b&amount=5&currency=usd",
    ],
    "/v1/plans": ["interval=month&currency=usd&amount=x"],
    "/v1/tax_rates": ["display_name=x&inclusive=maybe&percentage=1"],
}  # fmt: skip


def test_what_is_malformed_is_refused_and_breaks_nothing(shop: Shop) -> None:
    customer, _ = shop.customer_with("succeeded")
    price = shop.subscribed(customer)["items"].data[0].price.id
    given = {
        "/v1/subscriptions": f"customer={customer.id}&items[0][price]={price}&",
        "/v1/invoiceitems": f"customer={customer.id}&amount=5&currency=usd&",
        "/v1/invoices": f"customer={customer.id}&",
    }
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    told = []
    for path, bodies in MALFORMED.items():
        for body in bodies:
            sent = given.get(path, "") + body
            reply = shop.http.post(path, content=sent, headers=form, auth=("sk_test_x", ""))
            if reply.status_code not in (400, 402):
                told.append(f"{path} {body}: {reply.status_code}")
    assert told == []


def test_what_is_not_simulated_is_told_from_what_is_unknown(shop: Shop) -> None:
    told = []
    for name in ("on_behalf_of", "on_behalf"):
        given: Any = {"amount": 100, "currency": "usd", name: "acct_1"}
        with pytest.raises(stripe.InvalidRequestError) as refused:
            shop.stripe.v1.payment_intents.create(given)
        told.append((refused.value.code, refused.value.param))
    assert told == [
        ("parameter_not_simulated", "on_behalf_of"), ("parameter_unknown", "on_behalf"),
    ]  # fmt: skip
