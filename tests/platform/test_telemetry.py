import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from retry_engine import telemetry

Stderr = Callable[[], str]


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Stderr]:
    """What was logged since it was last asked; logging is put back as it was afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:], root.level = handlers, level
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_says_what_was_bound_around_it(stderr: Stderr) -> None:
    telemetry.configure("worker")
    with structlog.contextvars.bound_contextvars(case="rc_1", action=7):
        structlog.get_logger().info("charged", attempt=2)
    [line] = lines(stderr())
    assert line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "service": "worker",
        "event": "charged",
        "case": "rc_1",
        "action": 7,
        "attempt": 2,
    }


def test_what_libraries_log_comes_in_the_same_form(stderr: Stderr) -> None:
    telemetry.configure("web")
    logging.getLogger("a.library").warning("key %s of %s", "sk_live_abc123", "ann@example.com")
    [line] = lines(stderr())
    assert (line["service"], line["event"]) == ("web", "key sk_live_[removed] of [address]")


def test_an_exception_is_one_line_without_its_secrets(stderr: Stderr) -> None:
    telemetry.configure("web")
    try:
        raise RuntimeError("postgresql://u:s3cret@h/d did not answer")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    [line] = lines(stderr())
    assert "RuntimeError" in line["exception"]
    assert "s3cret" not in json.dumps(line)


def test_configuring_twice_does_not_log_twice(stderr: Stderr) -> None:
    telemetry.configure("web")
    telemetry.configure("web")
    structlog.get_logger().info("once")
    assert len(lines(stderr())) == 1


def test_a_terminal_gets_readable_text(stderr: Stderr) -> None:
    telemetry.configure("web", log_format="console")
    structlog.get_logger().info("charged", case="rc_1")
    text = stderr()
    assert "charged" in text
    assert "case=rc_1" in text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("key sk_test_51Ab_cD", "key sk_test_[removed]"),
        ("x_rk_live_abc", "x_rk_live_[removed]"),
        ("whsec_abc/def", "whsec_[removed]/def"),
        ("pi_3N_secret_abc", "pi_3N_secret_[removed]"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [removed]"),
        ("redis://:hunter2@h:1/0", "redis://:[removed]@h:1/0"),
        ("mail ann.lee+x@example.co.uk!", "mail [address]!"),
        ("paid with 4242424242424242.", "paid with [card number]."),
        ("paid with 4242 4242 4242 4242", "paid with [card number]"),
        ("378282246310005", "[card number]"),
        ("invoice in_1MtHbELkdIwHu7ixl4OzzPMv", "invoice in_1MtHbELkdIwHu7ixl4OzzPMv"),
        ("4242424242424241 is no card", "4242424242424241 is no card"),
        ("at 2026-03-02T06:00:00Z for 1999 usd", "at 2026-03-02T06:00:00Z for 1999 usd"),
    ],
)
def test_only_what_must_not_be_logged_is_taken_out(text: str, left: str) -> None:
    assert telemetry.clean_text(text) == left


@pytest.mark.parametrize(
    "value",
    [
        {"a": [{"b": ("sk_test_hidden",)}]},
        {"client_secret": "hidden"},
        {"deep": {"password": "hidden"}},
        RuntimeError("sk_live_hidden"),
        SecretStr("hidden"),
        {"sk_test_hidden": 1},
        frozenset({"whsec_hidden"}),
    ],
)
def test_secrets_are_found_wherever_they_are_put(value: object) -> None:
    cleaned = telemetry.redact(None, "info", {"event": "x", "value": value})
    assert "hidden" not in repr(cleaned)


def test_a_card_number_given_as_a_number_is_taken_out_too() -> None:
    cleaned = telemetry.redact(None, "info", {"event": "x", "n": 4242424242424242, "amount": 1999})
    assert cleaned == {"event": "x", "n": "[card number]", "amount": 1999}


def _with_check_digit(digits: str) -> str:
    """By Luhn: from the right, every second digit counts twice, its two digits added up."""
    twice = [int(d) * (2 - n % 2) for n, d in enumerate(reversed(digits))]
    return digits + str(-sum(sum(divmod(value, 10)) for value in twice) % 10)


@given(
    st.from_regex(r"[1-9][0-9]{11,17}", fullmatch=True).map(_with_check_digit),
    st.sampled_from(["{}", "card {}.", "({})", "n={},", "{} "]),
)
def test_every_number_that_could_be_a_card_is_taken_out(number: str, around: str) -> None:
    assert number not in telemetry.clean_text(around.format(number))
