"""All settings, read once, validated, and passed on. The environment is touched here only.

Every error is one line that names the variable, what was found (secrets masked) and what was
expected.
"""

import difflib
import hashlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from retry_engine.domain.errors import SettingsError
from retry_engine.domain.modes import Mode
from retry_engine.domain.policy import BILLING_REASONS, OFFER_FEATURES, Policy

_SECTIONS = {f.name: f.default_factory for f in fields(Policy) if f.name != "version"}
# The release of Stripe.js that goes with the version of the API in use.
_STRIPE_JS = "https://js.stripe.com/endive/stripe.js"
ROLES = ("viewer", "operator", "admin")
_SHORTEST_TOKEN = 16

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
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "cases.billing_reasons": BILLING_REASONS,
    "review.on_dispute": ("review", "close"),
    "review.unanswered": ("wait", "reject", "release", "stop"),
    "messages.language": _LANGUAGES,
    "messages.way_back": ("page", "hosted"),
    "offers.way": ("credit_note", "coupon"),
    "end.subscription": ("leave", "pause", "cancel"),
    "offers.features": OFFER_FEATURES,
}


class ApiToken(BaseModel):
    """One bearer token of `/api`."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: str
    token: SecretStr


class Settings(BaseModel):
    """What the engine runs on; empty `database_url` and `redis_url` mean the embedded servers."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    database_url: str = Field(default="", repr=False)
    redis_url: str = Field(default="", repr=False)
    stripe_api_key: SecretStr | None = None
    stripe_webhook_secrets: tuple[SecretStr, ...] = ()
    stripe_api_base: str | None = None
    mode: Mode = Mode.SHADOW
    smtp_url: SecretStr | None = None
    smtp_plaintext: str = ""
    mail_from: str = ""
    messages_url: str | None = None
    messages_secret: SecretStr | None = None
    public_url: str | None = None
    link_secrets: tuple[SecretStr, ...] = ()
    stripe_publishable_key: str | None = None
    stripe_js: str = _STRIPE_JS
    home: Path
    policy: Policy
    api_tokens: tuple[ApiToken, ...] = ()
    api_open: str = "no"
    metrics_token: ApiToken | None = None
    log_format: str = "auto"
    worker_concurrency: int = 4
    stripe_requests_per_second: float = 25.0
    keep_events: timedelta = timedelta(days=90)
    keep_dead_events: timedelta = timedelta(days=180)

    @property
    def is_live(self) -> bool:
        """Whether the key moves real money; without a key nothing does."""
        key = self.stripe_api_key
        return key is not None and key.get_secret_value()[3:].startswith("live_")


def load(environ: Mapping[str, str], *, dotenv: Path | None = None) -> Settings:
    """Settings from the environment, over those of a `.env` file.

    Raises:
        SettingsError: the first setting that cannot be used.
    """
    given = {**_read_dotenv(dotenv), **environ}
    env = {name: value.strip() for name, value in given.items() if value.strip()}
    key = _key(env.get("STRIPE_API_KEY"))
    return Settings(
        database_url=_database_url(env.get("DATABASE_URL", "")),
        redis_url=_broker_url(env.get("REDIS_URL", "")),
        stripe_api_key=key,
        stripe_webhook_secrets=_webhook_secrets(env.get("STRIPE_WEBHOOK_SECRET", "")),
        stripe_api_base=_api_base(env.get("STRIPE_API_BASE"), key),
        mode=_mode(env.get("RETRY_ENGINE_MODE"), key),
        smtp_url=_smtp_url(env.get("SMTP_URL")),
        smtp_plaintext=_choice(env, "RETRY_ENGINE_SMTP_PLAINTEXT", "", ("loopback",)),
        mail_from=_mail_from(env.get("RETRY_ENGINE_MAIL_FROM"), env.get("SMTP_URL")),
        messages_url=_http_url("RETRY_ENGINE_MESSAGES_URL", env.get("RETRY_ENGINE_MESSAGES_URL")),
        messages_secret=_messages_secret(env),
        public_url=_http_url("RETRY_ENGINE_PUBLIC_URL", env.get("RETRY_ENGINE_PUBLIC_URL")),
        link_secrets=_link_secrets(env.get("RETRY_ENGINE_LINK_SECRET", "")),
        stripe_publishable_key=_publishable_key(env.get("STRIPE_PUBLISHABLE_KEY")),
        stripe_js=_stripe_js(
            env.get("RETRY_ENGINE_STRIPE_JS"), env.get("STRIPE_PUBLISHABLE_KEY", "")
        ),
        home=_home(env),
        policy=read_policy(env.get("RETRY_ENGINE_CONFIG")),
        api_tokens=_tokens(env.get("RETRY_ENGINE_API_TOKEN", "")),
        api_open=_choice(env, "RETRY_ENGINE_API_OPEN", "no", ("no", "loopback")),
        metrics_token=_metrics_token(env),
        log_format=_choice(env, "RETRY_ENGINE_LOG_FORMAT", "auto", ("auto", "json", "console")),
        worker_concurrency=_whole(env, "RETRY_ENGINE_WORKERS", 4, 1, 64),
        stripe_requests_per_second=_number(
            env, "RETRY_ENGINE_STRIPE_REQUESTS_PER_SECOND", 25, 0.1, 100_000
        ),
        # Stripe sends an event again for three days, and what was handled must be known until then
        keep_events=timedelta(days=_whole(env, "RETRY_ENGINE_KEEP_EVENTS_DAYS", 90, 7, 3650)),
        keep_dead_events=timedelta(
            days=_whole(env, "RETRY_ENGINE_KEEP_DEAD_EVENTS_DAYS", 180, 7, 3650)
        ),
    )


def from_process(dotenv: Path = Path(".env")) -> Settings:
    """Settings of this process: its environment and the `.env` of its folder."""
    return load(os.environ, dotenv=dotenv)


def bundled(name: str) -> Path:
    """`config` or `migrations`: inside an installed wheel, else in the checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "_bundled" / name
    return inside if inside.is_dir() else here.parent / name


# -- the policy file


def read_policy(path: str | None) -> Policy:
    """The defaults, with the operator's file laid over them; its version names its content."""
    policy = _overlay(Policy(), _toml(bundled("config") / "default.toml", "config"), "default.toml")
    if path is not None:
        file = Path(path).expanduser()
        content = _toml(file, "RETRY_ENGINE_CONFIG")
        policy = _overlay(policy, content, f"RETRY_ENGINE_CONFIG ({file})")
    content = {name: _plain(getattr(policy, name)) for name in _SECTIONS}
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
        if name not in _SECTIONS:
            raise SettingsError(f"{path}: unknown section [{name}]{_near(name, _SECTIONS)}")
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
    if type(value) is not wanted:
        kind = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise SettingsError(f"{path}: {key} is {value!r}; expected {kind[wanted]}")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise SettingsError(f"{path}: {key} is {value!r}; expected one of {_CHOICES[key]}")
    if key in _RANGES:
        low, high = _RANGES[key]
        if not low <= value <= high:
            raise SettingsError(f"{path}: {key} is {value}; expected {low:g} to {high:g}")
    return value


def _list(key: str, value: Any, path: str) -> tuple[str, ...]:
    known = _CHOICES[key]
    if not isinstance(value, list) or not all(part in known for part in value):
        raise SettingsError(
            f"{path}: {key} is {value!r}; expected a list of any of {', '.join(known)}"
        )
    return tuple(sorted(set(value)))


def _near(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; expected one of {', '.join(sorted(known))}"


# -- single settings


def _masked(value: str) -> str:
    """Which kind it is, and nothing of the secret itself."""
    kind = re.match(r"(?:[a-z]{2}_(?:test|live)|whsec)_", value)
    if kind is None:
        return f"a text of {len(value)} characters"
    return f"{kind.group()}… ({len(value)} characters)"


def _key(value: str | None) -> SecretStr | None:
    if value is None:
        return None
    if re.fullmatch(r"[sr]k_(?:test|live)_\w+", value) is None:
        raise SettingsError(
            f"STRIPE_API_KEY is {_masked(value)}; expected a secret key (sk_test_…, sk_live_…) "
            "or a restricted key (rk_test_…, rk_live_…)"
        )
    return SecretStr(value)


def _publishable_key(value: str | None) -> str | None:
    if value is not None and re.fullmatch(r"pk_(?:test|live)_\w+", value) is None:
        raise SettingsError(
            f"STRIPE_PUBLISHABLE_KEY is {_masked(value)}; expected a publishable key "
            "(pk_test_…, pk_live_…)"
        )
    return value


def _mode(value: str | None, key: SecretStr | None) -> Mode:
    if value is None:
        is_test = key is not None and key.get_secret_value()[3:].startswith("test_")
        return Mode.TAKEOVER if is_test else Mode.SHADOW
    if value not in (Mode.TAKEOVER, Mode.SHADOW):
        raise SettingsError(f"RETRY_ENGINE_MODE is {value!r}; expected takeover or shadow")
    return Mode(value)


def _webhook_secrets(value: str) -> tuple[SecretStr, ...]:
    found = [part.strip() for part in value.split(",") if part.strip()]
    for part in found or ([value] if value else []):
        if re.fullmatch(r"whsec_[\w+/=-]+", part) is None:
            raise SettingsError(
                f"STRIPE_WEBHOOK_SECRET holds {_masked(part)}; expected whsec_…, "
                "several separated by commas"
            )
    return tuple(SecretStr(part) for part in found)


def _database_url(value: str) -> str:
    if not value:
        return ""
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        raise SettingsError(
            "DATABASE_URL is not a valid address; expected postgresql://user:password@host/name"
        ) from None
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise SettingsError(f"DATABASE_URL begins with {url.drivername}; expected postgresql://…")
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _broker_url(value: str) -> str:
    scheme, separator, _ = value.partition("://")
    if value and (not separator or scheme in ("http", "https") or scheme.startswith("postgres")):
        raise SettingsError(
            "REDIS_URL is not a broker's address; expected redis://…, rediss://… "
            "or that of another Celery broker"
        )
    return value


def _http_url(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not _has_host(value, ("http", "https")):
        raise SettingsError(f"{name} is not a valid address; expected http://… or https://…")
    return value.rstrip("/")


def _api_base(value: str | None, key: SecretStr | None) -> str | None:
    """Where the key goes: a live one to Stripe alone, and none in clear over a network."""
    name = "STRIPE_API_BASE"
    base = _http_url(name, value)
    is_live = key is not None and key.get_secret_value()[3:].startswith("live_")
    return None if base is None else _stripes_own(name, base, "api.stripe.com", is_live=is_live)


def _stripe_js(value: str | None, publishable_key: str) -> str:
    """Where the script comes from that customers type their card into."""
    name = "RETRY_ENGINE_STRIPE_JS"
    source = _http_url(name, value)
    is_live = publishable_key.startswith("pk_live_")
    if source is None:
        return _STRIPE_JS
    return _stripes_own(name, source, "js.stripe.com", is_live=is_live)


def _stripes_own(name: str, url: str, host: str, *, is_live: bool) -> str:
    parts = urlsplit(url)
    if is_live and (parts.scheme, parts.netloc.lower()) not in (
        ("https", host),
        ("https", f"{host}:443"),
    ):
        raise SettingsError(
            f"{name} is not Stripe's, and the key is a live one; expected https://{host}, "
            "or a test key"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise SettingsError(
            f"{name} is plain http to another machine; expected https://…, or http:// to "
            "localhost with a test key"
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether an address, or `localhost`, is this machine and nobody else's."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _has_host(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _smtp_url(value: str | None) -> SecretStr | None:
    if value is None:
        return None
    if not _has_host(value, ("smtp", "smtps")):
        raise SettingsError(
            "SMTP_URL is not a mail server's address; expected smtp://host:port "
            "or smtps://user:password@host:port"
        )
    return SecretStr(value)


def _messages_secret(env: Mapping[str, str]) -> SecretStr | None:
    """What calls of the messages' address are signed with."""
    value = env.get("RETRY_ENGINE_MESSAGES_SECRET")
    if "RETRY_ENGINE_MESSAGES_URL" not in env:
        return None
    if "SMTP_URL" in env:
        raise SettingsError(
            "RETRY_ENGINE_MESSAGES_URL and SMTP_URL are both set; expected one channel, so that "
            "nobody is written to twice"
        )
    if value is None or len(value) < 16:
        found = "not set" if value is None else _masked(value)
        raise SettingsError(
            f"RETRY_ENGINE_MESSAGES_SECRET is {found}; expected a text of 16 characters or more "
            "to sign the calls of RETRY_ENGINE_MESSAGES_URL with"
        )
    return SecretStr(value)


def _link_secrets(value: str) -> tuple[SecretStr, ...]:
    """What links are signed with: the first, all are good."""
    found = [part.strip() for part in value.split(",") if part.strip()]
    for part in found:
        if len(part) < 32:
            raise SettingsError(
                f"RETRY_ENGINE_LINK_SECRET holds {_masked(part)}; expected 32 characters or more, "
                "such as `openssl rand -hex 32` prints, several separated by commas"
            )
    return tuple(SecretStr(part) for part in found)


def _mail_from(value: str | None, smtp_url: str | None) -> str:
    """Who writes; the mail server's user where that is an address."""
    if value is None and smtp_url is not None:
        parts = urlsplit(smtp_url)
        user = unquote(parts.username or "")
        value = user if _is_address(user) else f"billing@{parts.hostname}"
    if value is not None and not _is_address(value):
        raise SettingsError(
            f"RETRY_ENGINE_MAIL_FROM is {value!r}; expected an e-mail address: name@example.com"
        )
    return value or ""


def _is_address(value: str) -> bool:
    return re.fullmatch(r"[^@\s<>,;:]+@[A-Za-z0-9.-]+", value) is not None


def _tokens(value: str) -> tuple[ApiToken, ...]:
    found = tuple(_token(part.strip()) for part in value.split(",") if part.strip())
    secrets = [token.token.get_secret_value() for token in found]
    for number, token in enumerate(found):
        if secrets[number] in secrets[:number]:
            raise SettingsError(
                f"RETRY_ENGINE_API_TOKEN: the token of {token.name} is another's too; "
                "expected one of its own for each name"
            )
    return found


def _token(part: str) -> ApiToken:
    pieces = part.split(":")
    if len(pieces) not in (2, 3) or not all(pieces):
        raise SettingsError(
            "RETRY_ENGINE_API_TOKEN holds a token that is not name:token or name:role:token"
        )
    name, role, token = pieces if len(pieces) == 3 else (pieces[0], "operator", pieces[1])
    if role not in ROLES:
        raise SettingsError(
            # what stands there may be half of a token with a colon in it
            f"RETRY_ENGINE_API_TOKEN: {name} has an unknown role; expected {', '.join(ROLES)}"
        )
    if token in ROLES:
        raise SettingsError(
            f"RETRY_ENGINE_API_TOKEN: the token of {name} is a role's name; "
            "expected name:role:token"
        )
    _long_enough(f"RETRY_ENGINE_API_TOKEN: the token of {name}", token)
    return ApiToken(name=name, role=role, token=SecretStr(token))


def _long_enough(what: str, token: str) -> None:
    if len(token) < _SHORTEST_TOKEN:
        raise SettingsError(
            f"{what} has {len(token)} characters; expected {_SHORTEST_TOKEN} or more, such as "
            "`openssl rand -hex 32` prints"
        )


def _metrics_token(env: Mapping[str, str]) -> ApiToken | None:
    """The scraper's own: it reads figures and no customers."""
    value = env.get("RETRY_ENGINE_METRICS_TOKEN")
    if value is None:
        return None
    _long_enough("RETRY_ENGINE_METRICS_TOKEN", value)
    if value in re.split(r"[:,\s]+", env.get("RETRY_ENGINE_API_TOKEN", "")):
        raise SettingsError(
            "RETRY_ENGINE_METRICS_TOKEN is one of RETRY_ENGINE_API_TOKEN too; expected its own"
        )
    return ApiToken(name="metrics", role="viewer", token=SecretStr(value))


def _home(env: Mapping[str, str]) -> Path:
    if "RETRY_ENGINE_HOME" in env:
        home = Path(env["RETRY_ENGINE_HOME"]).expanduser().absolute()
        if home.exists() and not home.is_dir():
            raise SettingsError(f"RETRY_ENGINE_HOME is the file {home}; expected a folder")
        return home
    if sys.platform == "darwin":
        return _user_folder() / "Library" / "Application Support" / "retry-engine"
    data = env.get("XDG_DATA_HOME")
    return (Path(data) if data else _user_folder() / ".local" / "share") / "retry-engine"


def _user_folder() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a number without an entry in the user database, and no HOME
        raise SettingsError(
            "neither RETRY_ENGINE_HOME nor HOME is set, and the user database knows no home of "
            f"user {os.getuid()}; expected RETRY_ENGINE_HOME, a folder that can be written"
        ) from None


def _choice(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = env.get(name, default)
    if name in env and value not in choices:
        raise SettingsError(f"{name} is {value!r}; expected one of {', '.join(choices)}")
    return value


def _number(env: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = env.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}; expected a number") from None
    if not low <= value <= high:
        raise SettingsError(f"{name} is {text}; expected {low:g} to {high:g}")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    value = _number(env, name, default, low, high)
    if value % 1:
        raise SettingsError(f"{name} is {env[name]}; expected a whole number")
    return int(value)


def _read_dotenv(path: Path | None) -> dict[str, str]:
    """NAME=value lines; quotes are taken off, comments and empty lines passed over."""
    if path is None or not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    found: dict[str, str] = {}
    for number, raw in enumerate(lines, start=1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise SettingsError(f"{path}, line {number}: expected NAME=value")
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if value[:1] in ("'", '"') and (end := value.find(value[0], 1)) > 0:
        return value[1:end]
    return re.split(r"\s+#", value, maxsplit=1)[0]
