"""The policy file: the defaults, the operator's own laid over them, every value checked."""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from retry_engine.domain.errors import InvalidInput, SettingsError
from retry_engine.domain.money import known_currency
from retry_engine.domain.policy import OFFER_FEATURES, SECTIONS, Policy
from retry_engine.domain.vocabulary import BillingReason

# name -> (lowest, highest), both allowed
_RANGES: Mapping[str, tuple[float, float]] = {
    "value.attempt_cost": (0, 10**9),
    "value.message_cost": (0, 10**9),
    "value.rule_breach_cost": (0, 10**9),
    "value.margin": (0, 1),
    "value.lifetime_value_multiple": (0, 1000),
    "value.churn_per_day": (0, 0.5),
    "value.attempt_shadow_price_share": (0, 1),
    "value.explore": (0, 1),
    "value.explore_scale": (0.001, 1),
    "limits.horizon_days": (1, 60),
    "limits.max_attempts": (1, 15),
    "limits.max_attempts_per_card_30_days": (1, 35),
    "limits.min_gap_hours": (1, 720),
    "limits.min_gap_after_decline_hours": (1, 720),
    "limits.unknown_code_retries": (0, 8),
    "limits.unknown_code_gap_hours": (1, 720),
    "limits.quiet_zone_hours": (0, 168),
    "limits.first_invoice_hours": (0, 23),
    "limits.late_action_hours": (1, 168),
    "comparison.holdout": (0, 1),
    "review.amount_above": (0, 10**12),
    "review.deadline_hours": (1, 8760),
    "review.dispute_days": (0, 3650),
    "messages.quiet_from_hour": (12, 24),
    "messages.quiet_until_hour": (0, 12),
    "messages.most_per_case": (0, 10),
    "messages.most_per_customer_30_days": (0, 30),
    "messages.min_gap_hours": (24, 720),
    "messages.renewal_chance_below": (0, 1),
    "offers.max_discount_percent": (0, 100),
    "offers.after_messages": (0, 10),
    "offers.least_gain_share": (0, 1),
    "offers.randomised": (0, 1),
    "offers.month_budget": (0, 10**12),
    "offers.customer_budget": (0, 10**12),
    "offers.case_budget": (0, 10**12),
    "offers.review_above": (0, 10**12),
    "offers.cool_down_days": (0, 3650),
    "offers.valid_days": (1, 60),
    "offers.pay_within_days": (1, 60),
    "offers.free_days": (0, 31),
    "offers.pause_months": (0, 12),
}
_LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt")
# What a list may hold, and what a text may be that is no word of the vocabulary.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "cases.billing_reasons": tuple(BillingReason),
    "messages.language": _LANGUAGES,
    "offers.features": OFFER_FEATURES,
}


def bundled(name: str) -> Path:
    """`config` or `migrations`: inside an installed wheel, else in the checkout."""
    here = Path(__file__).resolve().parents[1]
    inside = here / "_bundled" / name
    return inside if inside.is_dir() else here.parent / name


def read_policy(path: str | None) -> Policy:
    """The defaults, with the operator's file laid over them; its version names its content."""
    policy = _overlay(Policy(), _toml(bundled("config") / "default.toml", "config"), "default.toml")
    if path is not None:
        file = Path(path).expanduser()
        content = _toml(file, "RETRY_ENGINE_CONFIG")
        policy = _overlay(policy, content, f"RETRY_ENGINE_CONFIG ({file})")
    _check_report(policy, path or "default.toml")
    content = {name: _plain(getattr(policy, name)) for name in SECTIONS if name != "report"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return replace(policy, version=f"policy-{digest}")


def _plain(section: Any) -> dict[str, Any]:
    return {f.name: getattr(section, f.name) for f in fields(section)}


def _toml(path: Path, variable: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{variable}: no file {path}; expected a policy file (TOML)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{variable}: {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{variable}: {path} is not valid TOML: {error}") from None


def _overlay(policy: Policy, content: Mapping[str, Any], path: str) -> Policy:
    changed: dict[str, Any] = {}
    for name, values in content.items():
        if name not in SECTIONS:
            raise SettingsError(f"{path}: unknown section [{name}]{_near(name, SECTIONS)}")
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: {name} is {values!r}; expected a section [{name}]")
        section = getattr(policy, name)
        known = {f.name: getattr(section, f.name) for f in fields(section)}
        for key in values:
            if key not in known:
                raise SettingsError(f"{path}: unknown key {name}.{key}{_near(key, known)}")
        checked = {k: _value(f"{name}.{k}", v, known[k], path) for k, v in values.items()}
        changed[name] = replace(section, **checked)
    return replace(policy, **changed)


def _value(key: str, value: Any, default: Any, path: str) -> Any:
    wanted = type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if wanted is tuple:
        return _list(key, value, path)
    if wanted is dict:
        return _rates(key, value, path)
    if isinstance(default, StrEnum) and isinstance(value, str):
        return _word(key, value, type(default), path)
    if type(value) is not wanted:
        kind = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise SettingsError(f"{path}: {key} is {value!r}; expected {kind.get(wanted, 'a text')}")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise SettingsError(f"{path}: {key} is {value!r}; expected one of {_CHOICES[key]}")
    if key in _RANGES:
        low, high = _RANGES[key]
        if not low <= value <= high:
            raise SettingsError(f"{path}: {key} is {value}; expected {low:g} to {high:g}")
    return value


def _word(key: str, value: str, words: type[StrEnum], path: str) -> StrEnum:
    try:
        return words(value)
    except ValueError:
        expected = tuple(word.value for word in words)
        raise SettingsError(f"{path}: {key} is {value!r}; expected one of {expected}") from None


def _list(key: str, value: Any, path: str) -> tuple[str, ...]:
    known = _CHOICES[key]
    if not isinstance(value, list) or not all(part in known for part in value):
        raise SettingsError(
            f"{path}: {key} is {value!r}; expected a list of any of {', '.join(known)}"
        )
    return tuple(known[known.index(part)] for part in sorted(set(value)))


def _rates(key: str, value: Any, path: str) -> dict[str, float]:
    """What one unit of each currency is worth in the reporting currency."""
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: {key} is {value!r}; expected currencies and their rates")
    for currency, rate in value.items():
        _currency(f"{key}.{currency}", currency, path)
        is_number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        if not is_number or not 0 < rate < float("inf"):
            raise SettingsError(f"{path}: {key}.{currency} is {rate!r}; expected a number above 0")
    return {currency: float(rate) for currency, rate in value.items()}


def _currency(key: str, value: str, path: str) -> None:
    try:
        known_currency(value, of=key)
    except InvalidInput as error:
        raise SettingsError(f"{path}: {error}") from None


def _check_report(policy: Policy, path: str) -> None:
    """Rates are worth something only in a currency."""
    report = policy.report
    if report.currency:
        _currency("report.currency", report.currency, path)
    elif report.rates:
        raise SettingsError(f"{path}: report.rates without report.currency; expected both")


def _near(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; expected one of {', '.join(sorted(known))}"
