"""Structured logs that follow one case across processes, without secrets or personal data.

To stderr: JSON lines, or readable text in a terminal. A line carries what was bound around it
(`case`, `event`, `action`), whichever process writes it.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_KEYS = re.compile(r"(?<![A-Za-z0-9])((?:sk|rk|pk)_(?:test|live)|whsec)_\w+")
_CLIENT_SECRET = re.compile(r"_secret_\w+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")
_DIGITS = re.compile(r"(?<!\w)(?<!\d\.)\d(?:[ -]?\d){12,18}(?!\w|\.\d)")
_TELLTALE = ("secret", "password", "token", "api_key", "authorization", "email")


def configure(service: str, *, log_format: str = "auto", level: int = logging.INFO) -> None:
    """Set up logging for this process; `service` is on every line."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in (
        "celery",
        "kombu",
        "amqp",
        "alembic",
        "httpx",
        "numexpr",
        "stripe",
        "uvicorn.access",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # a broker that is away is said once by ourselves, not in a traceback a second
    logging.getLogger("celery.worker.consumer.consumer").setLevel(logging.ERROR)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take keys, addresses, passwords and card-like numbers out of whatever is logged."""
    for name, value in event.items():
        if not name.startswith("_"):  # structlog's own, which it takes out before rendering
            event[name] = _clean_entry(name, value)
    return event


def _clean_entry(name: object, value: Any) -> Any:
    if any(part in str(name).lower() for part in _TELLTALE):
        return "[removed]"
    return _clean(value)


def _clean(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        cleaned = clean_text(str(value))
        return value if cleaned == str(value) else cleaned
    if isinstance(value, Mapping):
        return {_clean(k): _clean_entry(k, v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(v) for v in value]
    return clean_text(str(value))  # an exception's text is a text like any other


def clean_text(text: str) -> str:
    """The text without what must not be in a log."""
    text = _KEYS.sub(r"\1_[removed]", text)
    text = _CLIENT_SECRET.sub("_secret_[removed]", text)
    text = _BEARER.sub(r"\1 [removed]", text)
    text = _PASSWORD.sub(r"\1[removed]@", text)
    text = _MAIL.sub("[address]", text)
    return _DIGITS.sub(lambda m: "[card number]" if _passes_luhn(m.group()) else m.group(), text)


def _passes_luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    total = sum(
        digit if index % 2 == 0 else (digit * 2 - 9 if digit > 4 else digit * 2)
        for index, digit in enumerate(reversed(digits))
    )
    return total % 10 == 0
