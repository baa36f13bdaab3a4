"""JSON as PostgreSQL and we can both hold it: what Python's reader lets through is refused here.

Python reads `NaN`, half of a surrogate pair, NUL, and numbers of any length; PostgreSQL holds none
of the first three, and a number that is short here (`1e100000`) may be long there.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

# Stripe's events are some twelve levels deep, and its numbers are amounts and seconds.
DEEPEST = 64
_LONGEST_NUMBER = 40
_LARGEST_EXPONENT = 30


class NotStrict(ValueError):
    """Not JSON, or not such JSON; the text says what was found and what was expected."""


def parse(content: bytes | str) -> Any:
    """The value, all of which can be stored and read again.

    Raises:
        NotStrict: it is something else.
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
    except UnicodeDecodeError:
        raise NotStrict("the body is not UTF-8") from None
    try:
        value = json.loads(text, parse_constant=_constant, parse_int=_whole, parse_float=_fraction)
    except NotStrict:
        raise
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise NotStrict("the body is not JSON") from None
    if _is_deep(value):
        raise _too_deep()
    # only an escape can hide either in what was UTF-8
    if "\\u0000" in text or "\\ud" in text or "\\uD" in text:
        for part in _texts(value):
            _check(part)
    return value


def _constant(name: str) -> Any:
    raise NotStrict(f"{name} is no JSON number")


def _whole(literal: str) -> int:
    if len(literal) > _LONGEST_NUMBER:
        raise _too_long(literal)
    return int(literal)


def _fraction(literal: str) -> float:
    if len(literal) > _LONGEST_NUMBER:
        raise _too_long(literal)
    if abs(Decimal(literal).adjusted()) > _LARGEST_EXPONENT:
        raise NotStrict(f"a number is out of range; expected 1e±{_LARGEST_EXPONENT} at most")
    return float(literal)


def _too_long(literal: str) -> NotStrict:
    return NotStrict(f"a number has {len(literal)} characters; expected at most {_LONGEST_NUMBER}")


def _too_deep() -> NotStrict:
    return NotStrict(f"the body is nested too deeply; expected at most {DEEPEST} levels")


def _is_deep(value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _texts(part)


def _check(text: str) -> None:
    if "\x00" in text:
        raise NotStrict("a text holds NUL (\\u0000), which cannot be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotStrict("a text holds half of a surrogate pair") from None
