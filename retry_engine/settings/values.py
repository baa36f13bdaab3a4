"""Each single setting out of its text: what may stand there, and what is said where it may not.

An error is one line that names the variable, what was found (secrets masked) and what was expected.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from retry_engine.domain.errors import SettingsError
from retry_engine.domain.vocabulary import Mode, Role

# The release of Stripe.js that goes with the version of the API in use.
STRIPE_JS = "https://js.stripe.com/endive/stripe.js"
_SHORTEST_TOKEN = 16


class ApiToken(BaseModel):
    """One bearer token of `/api`."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role
    token: SecretStr


def _masked(value: str) -> str:
    """Which kind it is, and nothing of the secret itself."""
    kind = re.match(r"(?:[a-z]{2}_(?:test|live)|whsec)_", value)
    if kind is None:
        return f"a text of {len(value)} characters"
    return f"{kind.group()}… ({len(value)} characters)"


def secret_key(value: str | None) -> SecretStr | None:
    if value is None:
        return None
    if re.fullmatch(r"[sr]k_(?:test|live)_\w+", value) is None:
        raise SettingsError(
            f"STRIPE_API_KEY is {_masked(value)}; expected a secret key (sk_test_…, sk_live_…) "
            "or a restricted key (rk_test_…, rk_live_…)"
        )
    return SecretStr(value)


def publishable_key(value: str | None) -> str | None:
    if value is not None and re.fullmatch(r"pk_(?:test|live)_\w+", value) is None:
        raise SettingsError(
            f"STRIPE_PUBLISHABLE_KEY is {_masked(value)}; expected a publishable key "
            "(pk_test_…, pk_live_…)"
        )
    return value


def mode_of(value: str | None, key: SecretStr | None) -> Mode:
    if value is None:
        is_test = key is not None and key.get_secret_value()[3:].startswith("test_")
        return Mode.TAKEOVER if is_test else Mode.SHADOW
    if value not in (Mode.TAKEOVER, Mode.SHADOW):
        raise SettingsError(f"RETRY_ENGINE_MODE is {value!r}; expected takeover or shadow")
    return Mode(value)


def webhook_secrets(value: str) -> tuple[SecretStr, ...]:
    found = [part.strip() for part in value.split(",") if part.strip()]
    for part in found or ([value] if value else []):
        if re.fullmatch(r"whsec_[\w+/=-]+", part) is None:
            raise SettingsError(
                f"STRIPE_WEBHOOK_SECRET holds {_masked(part)}; expected whsec_…, "
                "several separated by commas"
            )
    return tuple(SecretStr(part) for part in found)


def database_url(value: str) -> str:
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


def broker_url(value: str) -> str:
    scheme, separator, _ = value.partition("://")
    if value and (not separator or scheme in ("http", "https") or scheme.startswith("postgres")):
        raise SettingsError(
            "REDIS_URL is not a broker's address; expected redis://…, rediss://… "
            "or that of another Celery broker"
        )
    return value


def http_url(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not _has_host(value, ("http", "https")):
        raise SettingsError(f"{name} is not a valid address; expected http://… or https://…")
    return value.rstrip("/")


def api_base(value: str | None, key: SecretStr | None) -> str | None:
    """Where the key goes: a live one to Stripe alone, and none in clear over a network."""
    name = "STRIPE_API_BASE"
    base = http_url(name, value)
    is_live = key is not None and key.get_secret_value()[3:].startswith("live_")
    return None if base is None else _stripes_own(name, base, "api.stripe.com", is_live=is_live)


def stripe_js(value: str | None, publishable_key: str) -> str:
    """Where the script comes from that customers type their card into."""
    name = "RETRY_ENGINE_STRIPE_JS"
    source = http_url(name, value)
    is_live = publishable_key.startswith("pk_live_")
    if source is None:
        return STRIPE_JS
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


def smtp_url(value: str | None) -> SecretStr | None:
    if value is None:
        return None
    if not _has_host(value, ("smtp", "smtps")):
        raise SettingsError(
            "SMTP_URL is not a mail server's address; expected smtp://host:port "
            "or smtps://user:password@host:port"
        )
    return SecretStr(value)


def messages_secret(env: Mapping[str, str]) -> SecretStr | None:
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


def events_url(env: Mapping[str, str]) -> str | None:
    """Where the host application is told of its customers' cases."""
    name = "RETRY_ENGINE_EVENTS_URL"
    if name not in env:
        return None
    url = env[name]
    if not _has_host(url, ("http", "https")):
        raise SettingsError(f"{name} is not a valid address; expected https://…")
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise SettingsError(
            f"{name} is plain http to another machine; expected https://…, or http:// to localhost"
        )
    return url


def events_secret(env: Mapping[str, str]) -> SecretStr | None:
    """What calls of the events' address are signed with."""
    name, url = "RETRY_ENGINE_EVENTS_SECRET", "RETRY_ENGINE_EVENTS_URL"
    value = env.get(name)
    if value is not None and url not in env:
        raise SettingsError(f"{name} is set and {url} is not; expected both or neither")
    if value is None and url not in env:
        return None
    if value is None or len(value) < 16:
        found = "not set" if value is None else _masked(value)
        raise SettingsError(
            f"{name} is {found}; expected a text of 16 characters or more to sign the calls of "
            f"{url} with"
        )
    return SecretStr(value)


def link_secrets(value: str) -> tuple[SecretStr, ...]:
    """What links are signed with: the first, all are good."""
    found = [part.strip() for part in value.split(",") if part.strip()]
    for part in found:
        if len(part) < 32:
            raise SettingsError(
                f"RETRY_ENGINE_LINK_SECRET holds {_masked(part)}; expected 32 characters or more, "
                "such as `openssl rand -hex 32` prints, several separated by commas"
            )
    return tuple(SecretStr(part) for part in found)


def mail_from(value: str | None, smtp_url: str | None) -> str:
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


def api_tokens(value: str) -> tuple[ApiToken, ...]:
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
    if role not in tuple(Role):
        raise SettingsError(
            # what stands there may be half of a token with a colon in it
            f"RETRY_ENGINE_API_TOKEN: {name} has an unknown role; expected {', '.join(Role)}"
        )
    if token in tuple(Role):
        raise SettingsError(
            f"RETRY_ENGINE_API_TOKEN: the token of {name} is a role's name; "
            "expected name:role:token"
        )
    _long_enough(f"RETRY_ENGINE_API_TOKEN: the token of {name}", token)
    return ApiToken(name=name, role=Role(role), token=SecretStr(token))


def _long_enough(what: str, token: str) -> None:
    if len(token) < _SHORTEST_TOKEN:
        raise SettingsError(
            f"{what} has {len(token)} characters; expected {_SHORTEST_TOKEN} or more, such as "
            "`openssl rand -hex 32` prints"
        )


def metrics_token(env: Mapping[str, str]) -> ApiToken | None:
    """The scraper's own: it reads figures and no customers."""
    value = env.get("RETRY_ENGINE_METRICS_TOKEN")
    if value is None:
        return None
    _long_enough("RETRY_ENGINE_METRICS_TOKEN", value)
    if value in re.split(r"[:,\s]+", env.get("RETRY_ENGINE_API_TOKEN", "")):
        raise SettingsError(
            "RETRY_ENGINE_METRICS_TOKEN is one of RETRY_ENGINE_API_TOKEN too; expected its own"
        )
    return ApiToken(name="metrics", role=Role.VIEWER, token=SecretStr(value))
