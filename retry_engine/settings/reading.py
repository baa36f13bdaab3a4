"""Everything that is read of the environment, once; nobody else reads it."""

import os
import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from retry_engine.domain.errors import SettingsError
from retry_engine.domain.policy import Policy
from retry_engine.domain.vocabulary import Mode
from retry_engine.settings import values
from retry_engine.settings.names import misspelt
from retry_engine.settings.policy_file import read_policy
from retry_engine.settings.values import STRIPE_JS, ApiToken


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
    events_url: str | None = Field(default=None, repr=False)
    events_secret: SecretStr | None = None
    public_url: str | None = None
    link_secrets: tuple[SecretStr, ...] = ()
    stripe_publishable_key: str | None = None
    stripe_js: str = STRIPE_JS
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
    misspelt: tuple[str, ...] = ()  # a text for each variable that looks like ours and is none

    @property
    def events_host(self) -> str | None:
        """Whom events are told, without what may be secret in the address."""
        return None if self.events_url is None else urlsplit(self.events_url).hostname

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
    key = values.secret_key(env.get("STRIPE_API_KEY"))
    return Settings(
        database_url=values.database_url(env.get("DATABASE_URL", "")),
        redis_url=values.broker_url(env.get("REDIS_URL", "")),
        stripe_api_key=key,
        stripe_webhook_secrets=values.webhook_secrets(env.get("STRIPE_WEBHOOK_SECRET", "")),
        stripe_api_base=values.api_base(env.get("STRIPE_API_BASE"), key),
        mode=values.mode_of(env.get("RETRY_ENGINE_MODE"), key),
        smtp_url=values.smtp_url(env.get("SMTP_URL")),
        smtp_plaintext=_choice(env, "RETRY_ENGINE_SMTP_PLAINTEXT", "", ("loopback",)),
        mail_from=values.mail_from(env.get("RETRY_ENGINE_MAIL_FROM"), env.get("SMTP_URL")),
        messages_url=values.http_url(
            "RETRY_ENGINE_MESSAGES_URL", env.get("RETRY_ENGINE_MESSAGES_URL")
        ),
        messages_secret=values.messages_secret(env),
        events_url=values.events_url(env),
        events_secret=values.events_secret(env),
        public_url=values.http_url("RETRY_ENGINE_PUBLIC_URL", env.get("RETRY_ENGINE_PUBLIC_URL")),
        link_secrets=values.link_secrets(env.get("RETRY_ENGINE_LINK_SECRET", "")),
        stripe_publishable_key=values.publishable_key(env.get("STRIPE_PUBLISHABLE_KEY")),
        stripe_js=values.stripe_js(
            env.get("RETRY_ENGINE_STRIPE_JS"), env.get("STRIPE_PUBLISHABLE_KEY", "")
        ),
        home=_home(env),
        policy=read_policy(env.get("RETRY_ENGINE_CONFIG")),
        api_tokens=values.api_tokens(env.get("RETRY_ENGINE_API_TOKEN", "")),
        api_open=_choice(env, "RETRY_ENGINE_API_OPEN", "no", ("no", "loopback")),
        metrics_token=values.metrics_token(env),
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
        misspelt=misspelt(given),
    )


def from_process(dotenv: Path = Path(".env")) -> Settings:
    """Settings of this process: its environment and the `.env` of its folder."""
    return load(os.environ, dotenv=dotenv)


# -- single settings of one kind


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
