"""Plays fixtures of the shape that Stripe's command line uses for `stripe trigger`."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

_REFERENCE = re.compile(r"\$\{([^}|:]+):([^}|]+)[^}]*\}")


@dataclass
class Played:
    """What was answered, by the steps' names; `refused`: the first answer that was not foreseen."""

    answers: dict[str, Any] = field(default_factory=dict)
    refused: str | None = None


def play(http: httpx.Client, fixture: dict[str, Any]) -> Played:
    """One request after another; references read the answers before."""
    played = Played()
    for step in fixture["fixtures"]:
        method = step["method"].upper()
        path = _resolved(step["path"], played.answers)
        pairs = _flat(step.get("params") or {}, played.answers)
        reply = http.request(
            method,
            path,
            params=dict(pairs) if method != "POST" else None,
            content=urlencode(pairs) if method == "POST" else None,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            auth=("sk_test_trigger", ""),
        )
        answer = reply.json()
        if not reply.is_success and answer["error"]["type"] != step.get("expected_error_type"):
            played.refused = f"{step['name']}: {answer['error']['message']}"
            return played
        played.answers[step["name"]] = answer
    return played


def read(path: Path) -> dict[str, Any]:
    fixture: dict[str, Any] = json.loads(path.read_text())
    return fixture


def _resolved(text: str, answers: dict[str, Any]) -> str:
    def found(match: re.Match[str]) -> str:
        value: Any = answers[match[1]]
        for step in match[2].split("."):
            value = value[int(step)] if isinstance(value, list) else value[step]
        return str(value)

    return _REFERENCE.sub(found, text)


def _flat(given: Any, answers: dict[str, Any], name: str = "") -> list[tuple[str, str]]:
    """As Stripe's bracketed form."""
    if isinstance(given, dict):
        inner = [(f"{name}[{key}]" if name else key, value) for key, value in given.items()]
    elif isinstance(given, list):
        nested = any(isinstance(value, dict | list) for value in given)
        inner = [(f"{name}[{i}]" if nested else f"{name}[]", v) for i, v in enumerate(given)]
    elif isinstance(given, bool):
        return [(name, str(given).lower())]
    else:
        return [(name, _resolved(str(given), answers))]
    return [pair for key, value in inner for pair in _flat(value, answers, key)]
