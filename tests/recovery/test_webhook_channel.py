"""Messages through an HTTP address of the operator's own."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from correspondence import ADDRESS, PUBLIC, failed, in_arrears
from engine_shop import EngineShop, RealTime, build_engine
from sandbox_shop import Shop

from retry_engine.adapters import signed_call
from retry_engine.domain.errors import SettingsError

pytestmark = pytest.mark.integration

SECRET = "hook_secret_0123456789"


@dataclass
class Receiver:
    """Answers as it is told, one answer a call, then 200; what came is kept."""

    answers: list[int] = field(default_factory=list)
    calls: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            at, _, signed = self.headers["Retry-Engine-Signature"].partition(",v1=")
            assert signed == signed_call.signature(SECRET, int(at.removeprefix("t=")), body)
            told.calls.append((dict(self.headers), json.loads(body)))
            status = told.answers.pop(0) if told.answers else 200
            if status == 0:  # the answer is lost
                self.connection.close()
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    told.url = f"http://127.0.0.1:{server.server_port}/messages"
    yield told
    server.shutdown()
    server.server_close()


@pytest.fixture
def hooked(
    shop: Shop, receiver: Receiver, database_url: str, redis_url: str,
) -> Iterator[EngineShop]:  # fmt: skip
    time = RealTime()
    with build_engine(
        shop, database_url, redis_url, time,
        sleep=lambda _: None,
        RETRY_ENGINE_MESSAGES_URL=receiver.url,
        RETRY_ENGINE_MESSAGES_SECRET=SECRET,
        RETRY_ENGINE_PUBLIC_URL=PUBLIC,
    ) as engine:  # fmt: skip
        yield EngineShop(shop, engine, time)


def message(here: EngineShop, invoice: Any) -> dict[str, Any]:
    return dict(here.case(invoice)["messages"][0])


def test_a_message_is_handed_over_with_its_words_and_facts(
    hooked: EngineShop, receiver: Receiver
) -> None:
    customer, invoice = failed(hooked, "lost_card")
    hooked.days_pass(customer, 1, step_hours=3)
    ((headers, said),) = receiver.calls
    assert headers["Idempotency-Key"] == said["id"]
    assert (said["customer"], said["email"], said["language"]) == (customer.id, ADDRESS, "de")
    assert (said["amount"], said["currency"], said["kind"]) == (2000, "usd", "update_method")
    assert said["pay_url"].startswith(f"{PUBLIC}/r/")
    assert said["pay_url"] in said["text"]
    found = message(hooked, invoice)
    assert (found["state"], found["channel"]) == ("sent", "http")


def test_further_open_invoices_come_with_their_facts_in_the_same_call(
    hooked: EngineShop, receiver: Receiver
) -> None:
    _, invoices = in_arrears(hooked, "lost_card", "lost_card")
    ((_, told),) = receiver.calls
    (further,) = told["further_invoices"]
    assert {told["invoice"], further["invoice"]} == {invoice.id for invoice in invoices}
    of = next(invoice for invoice in invoices if invoice.id == further["invoice"])
    assert (further["amount"], further["number"]) == (of.amount_due, of.number)
    assert further["kind"] == "update_method"
    assert further["pay_url"] in told["text"]
    assert further["pay_url"] != told["pay_url"]


def test_a_call_that_is_not_answered_is_made_again_under_the_same_id(
    hooked: EngineShop, receiver: Receiver
) -> None:
    receiver.answers = [0, 500]
    customer, invoice = failed(hooked, "lost_card")
    hooked.days_pass(customer, 1, step_hours=3)
    assert len(receiver.calls) == 3
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.calls}) == 1
    assert message(hooked, invoice)["state"] == "sent"


@pytest.mark.parametrize(
    ("answers", "state"), [([500] * 4, "unknown"), ([410], "bounced"), ([400], "not_sent")]
)
def test_what_the_receiver_answers_is_kept(
    hooked: EngineShop, receiver: Receiver, answers: list[int], state: str
) -> None:
    receiver.answers = answers
    customer, invoice = failed(hooked, "lost_card")
    hooked.days_pass(customer, 0.75, step_hours=3)
    assert message(hooked, invoice)["state"] == state
    if state == "bounced":
        calls = len(receiver.calls)
        hooked.days_pass(customer, 8)
        assert len(receiver.calls) == calls


@pytest.mark.parametrize(
    "wrong",
    [
        {"RETRY_ENGINE_MESSAGES_SECRET": "short"},
        {"RETRY_ENGINE_MESSAGES_SECRET": ""},
        {"RETRY_ENGINE_MESSAGES_SECRET": SECRET, "SMTP_URL": "smtp://mail.example.com"},
    ],
)
def test_half_a_channel_or_two_are_refused_at_start(wrong: dict[str, str]) -> None:
    from retry_engine import settings  # noqa: PLC0415

    with pytest.raises(SettingsError, match="RETRY_ENGINE_MESSAGES"):
        settings.load({"RETRY_ENGINE_MESSAGES_URL": "https://example.com/hook", **wrong})
