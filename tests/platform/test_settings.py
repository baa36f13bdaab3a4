import pwd
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.domain.errors import SettingsError
from retry_engine.domain.policy import Policy
from retry_engine.settings import Settings, bundled, load, read_policy

TEST_KEY, LIVE_KEY = "sk_test_abcDEF123", "rk_live_abcDEF123"


def refusal(environ: Mapping[str, str]) -> str:
    """The one line that these settings are refused with."""
    with pytest.raises(SettingsError) as caught:
        load(environ)
    line = str(caught.value)
    assert "\n" not in line
    return line


def policy_file(folder: Path, text: str) -> dict[str, str]:
    path = folder / "policy.toml"
    path.write_text(text)
    return {"RETRY_ENGINE_CONFIG": str(path)}


def test_nothing_needs_to_be_set() -> None:
    settings = load({})
    assert (settings.database_url, settings.redis_url, settings.stripe_api_key) == ("", "", None)
    assert settings.stripe_webhook_secrets == settings.api_tokens == ()


@pytest.mark.parametrize(
    ("key", "mode"),
    [
        ("sk_test_1", "takeover"),
        ("rk_test_1", "takeover"),
        ("sk_live_1", "shadow"),
        ("rk_live_1", "shadow"),
    ],
)
def test_a_test_key_takes_over_and_a_live_key_only_watches(key: str, mode: str) -> None:
    assert load({"STRIPE_API_KEY": key}).mode == mode


def test_an_operator_decides_the_mode_of_a_live_key() -> None:
    assert load({"STRIPE_API_KEY": LIVE_KEY, "RETRY_ENGINE_MODE": "takeover"}).mode == "takeover"


@pytest.mark.parametrize(
    ("given_url", "driver_url"),
    [
        ("postgresql://u:p%40@h:1/d", "postgresql+psycopg://u:p%40@h:1/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgres://u@h/d?sslmode=require", "postgresql+psycopg://u@h/d?sslmode=require"),
    ],
)
def test_every_spelling_of_a_postgresql_address_is_understood(
    given_url: str, driver_url: str
) -> None:
    assert load({"DATABASE_URL": given_url}).database_url == driver_url


def test_several_webhook_secrets_are_in_force_at_once() -> None:
    settings = load({"STRIPE_WEBHOOK_SECRET": "whsec_old, whsec_new"})
    assert [s.get_secret_value() for s in settings.stripe_webhook_secrets] == [
        "whsec_old",
        "whsec_new",
    ]


def test_a_token_without_a_role_is_an_operators() -> None:
    value = "ann:s3cret-of-sixteen,bob:admin:s4cret-of-sixteen"
    tokens = load({"RETRY_ENGINE_API_TOKEN": value}).api_tokens
    assert [(t.name, t.role) for t in tokens] == [("ann", "operator"), ("bob", "admin")]
    assert [t.token.get_secret_value() for t in tokens] == [
        "s3cret-of-sixteen",
        "s4cret-of-sixteen",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIPE_API_KEY", "pk_test_hidden123"),
        ("STRIPE_API_KEY", "hidden123hidden123"),
        ("STRIPE_API_KEY", "sk_test_"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_fine,hidden123"),
        ("STRIPE_WEBHOOK_SECRET", ","),
        ("STRIPE_API_BASE", "ftp://hidden123"),
        ("STRIPE_API_BASE", "http://"),
        ("DATABASE_URL", "mysql://u:hidden123@h/d"),
        ("DATABASE_URL", "postgresql://u:hidden123@h:port/d"),
        ("DATABASE_URL", "hidden123"),
        ("REDIS_URL", "hidden123"),
        ("REDIS_URL", "https://u:hidden123@h"),
        ("RETRY_ENGINE_MODE", "both"),
        ("SMTP_URL", "https://u:hidden123@h"),
        ("SMTP_URL", "smtp://u:hidden123@h:port"),
        ("RETRY_ENGINE_API_TOKEN", "hidden123"),
        ("RETRY_ENGINE_API_TOKEN", "ann:hidden123:x"),
        ("RETRY_ENGINE_API_TOKEN", "ann:"),
        ("RETRY_ENGINE_API_TOKEN", "ann:hidden123"),
        ("RETRY_ENGINE_API_TOKEN", "ann:viewer:hidden123hidde"),
        ("RETRY_ENGINE_API_TOKEN", "ann:hidden123hidden123,bob:admin:hidden123hidden123"),
        ("RETRY_ENGINE_API_OPEN", "yes"),
        ("RETRY_ENGINE_METRICS_TOKEN", "hidden123"),
        ("RETRY_ENGINE_KEEP_EVENTS_DAYS", "3"),
        ("RETRY_ENGINE_KEEP_DEAD_EVENTS_DAYS", "0"),
        ("RETRY_ENGINE_CONFIG", "/no/such/policy.toml"),
        ("RETRY_ENGINE_CONFIG", "/"),
        ("RETRY_ENGINE_HOME", "/dev/null"),
        ("RETRY_ENGINE_LOG_FORMAT", "xml"),
        ("RETRY_ENGINE_WORKERS", "many"),
        ("RETRY_ENGINE_WORKERS", "0"),
        ("RETRY_ENGINE_WORKERS", "2.5"),
        ("RETRY_ENGINE_STRIPE_REQUESTS_PER_SECOND", "nan"),
    ],
)
def test_a_malformed_value_is_named_without_giving_its_secret_away(name: str, value: str) -> None:
    line = refusal({name: value})
    assert name in line
    assert "hidden123" not in line


def test_a_publishable_key_is_recognised_as_such() -> None:
    line = refusal({"STRIPE_API_KEY": "pk_live_abcDEF123"})
    assert "pk_live_…" in line
    assert "sk_test_" in line


@given(st.text(alphabet="abcdefghXYZ0123456789", min_size=6, max_size=40))
def test_no_secret_shows_in_the_settings_themselves(secret: str) -> None:
    secret = f"S3CRET{secret}"
    settings = load(
        {
            "STRIPE_API_KEY": f"sk_test_{secret}",
            "STRIPE_WEBHOOK_SECRET": f"whsec_{secret}",
            "DATABASE_URL": f"postgresql://u:{secret}@h/d",
            "REDIS_URL": f"redis://:{secret}@h",
            "SMTP_URL": f"smtp://u:{secret}@h",
            "RETRY_ENGINE_API_TOKEN": f"ann:{secret}-{secret}",
            "RETRY_ENGINE_METRICS_TOKEN": f"{secret}+{secret}",
        }
    )
    assert secret not in repr(settings)
    assert secret not in str(settings)


@given(st.text(alphabet="abcdefghXYZ0123456789_:-/@", min_size=1, max_size=40))
def test_no_malformed_secret_shows_in_its_refusal(noise: str) -> None:
    secret = f"S3CRET{noise}"
    for name in ("STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "RETRY_ENGINE_API_TOKEN"):
        try:
            load({name: f"ann:{secret}:{secret}" if name.endswith("TOKEN") else secret})
        except SettingsError as error:
            assert "S3CRET" not in str(error)  # noqa: PT017  # most, not all, are refused


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_role_is_no_token(role: str) -> None:
    assert "role's name" in refusal({"RETRY_ENGINE_API_TOKEN": f"alice:{role}"})
    assert "role's name" in refusal({"RETRY_ENGINE_API_TOKEN": f"alice:admin:{role}"})


def test_the_scrapers_token_is_nobody_elses() -> None:
    token = "hidden123hidden123"
    line = refusal(
        {"RETRY_ENGINE_METRICS_TOKEN": token, "RETRY_ENGINE_API_TOKEN": f"ann:viewer:{token}"}
    )
    assert "RETRY_ENGINE_METRICS_TOKEN" in line
    assert token not in line


LIVE_ELSEWHERE = [
    "https://api.stripe.com.evil.example",
    "https://evil.example",
    "https://api.stripe.com@evil.example",
    "https://api.stripe.com:8443",
    "https://files.stripe.com",
    "http://api.stripe.com",
    "http://localhost:12111",
    "https://127.0.0.1:12111",
    "http://[::1]:12111",
]


@pytest.mark.parametrize("base", LIVE_ELSEWHERE)
@pytest.mark.parametrize("key", ["sk_live_hidden123", "rk_live_hidden123"])
def test_a_live_key_goes_to_stripe_alone(key: str, base: str) -> None:
    line = refusal({"STRIPE_API_KEY": key, "STRIPE_API_BASE": base})
    assert "STRIPE_API_BASE" in line
    assert "https://api.stripe.com" in line
    assert "hidden123" not in line


@pytest.mark.parametrize("base", ["https://api.stripe.com", "https://API.stripe.com:443/"])
def test_a_live_key_may_be_told_where_stripe_is(base: str) -> None:
    assert load({"STRIPE_API_KEY": LIVE_KEY, "STRIPE_API_BASE": base}).stripe_api_base


@pytest.mark.parametrize(
    "base",
    ["http://localhost:1", "http://127.0.0.1:1", "http://127.3.2.1", "http://[::1]:1",
     "https://stripe-mock.example"],
)  # fmt: skip
def test_a_test_key_may_go_elsewhere_in_secret_or_on_this_machine(base: str) -> None:
    assert load({"STRIPE_API_KEY": TEST_KEY, "STRIPE_API_BASE": base}).stripe_api_base == base


@pytest.mark.parametrize(
    "base",
    ["http://10.0.0.1:1", "http://stripe-mock.example", "http://0.0.0.0:1",
     "http://localhost.evil.example", "http://127.0.0.1.evil.example"],
)  # fmt: skip
def test_no_key_goes_over_a_network_in_clear(base: str) -> None:
    for key in ({"STRIPE_API_KEY": TEST_KEY}, {}):
        assert "plain http" in refusal({**key, "STRIPE_API_BASE": base})


def test_cards_are_typed_into_stripes_own_script_alone_where_they_are_real() -> None:
    elsewhere = {"RETRY_ENGINE_STRIPE_JS": "https://evil.example/stripe.js"}
    line = refusal({"STRIPE_PUBLISHABLE_KEY": "pk_live_1", **elsewhere})
    assert "RETRY_ENGINE_STRIPE_JS" in line
    assert load({"STRIPE_PUBLISHABLE_KEY": "pk_test_1", **elsewhere}).stripe_js


# -- .env


def test_a_dotenv_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "# a comment\n\n"
        f'export STRIPE_API_KEY="{TEST_KEY}"  # quoted\n'
        "RETRY_ENGINE_MODE=shadow # not quoted\n"
        "RETRY_ENGINE_HOME='/srv/a #1'\n"
        "RETRY_ENGINE_WORKERS=3\n"
    )
    settings = load({"RETRY_ENGINE_WORKERS": "5"}, dotenv=dotenv)
    assert settings.stripe_api_key is not None
    assert settings.stripe_api_key.get_secret_value() == TEST_KEY
    assert settings.mode == "shadow"
    assert settings.home == Path("/srv/a #1")
    assert settings.worker_concurrency == 5


def test_a_line_of_the_dotenv_file_that_sets_nothing_is_named_by_its_number(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("A=1\nsk_test_hidden123\n")
    with pytest.raises(SettingsError, match="line 2") as caught:
        load({}, dotenv=dotenv)
    assert "hidden123" not in str(caught.value)


# -- the policy file


def test_the_commented_defaults_are_those_of_the_code() -> None:
    from_file, from_code = asdict(read_policy(None)), asdict(Policy())
    assert {**from_file, "version": ""} == {**from_code, "version": ""}


def test_every_knob_stands_in_the_commented_defaults() -> None:
    text = (bundled("config") / "default.toml").read_text()
    content = asdict(Policy())
    for section in [name for name in content if name != "version"]:
        assert f"[{section}]" in text
        for key in content[section]:
            assert f"\n{key} = " in text, f"{section}.{key} is missing"


def test_the_migrations_are_found_beside_the_defaults() -> None:
    assert (bundled("migrations") / "env.py").is_file()


def test_a_policy_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    policy = load(policy_file(tmp_path, "[limits]\nmax_attempts = 5\n")).policy
    assert policy.limits.max_attempts == 5
    assert policy.value == Policy().value


def test_a_whole_number_is_fine_where_a_fraction_may_stand(tmp_path: Path) -> None:
    margin = load(policy_file(tmp_path, "[value]\nmargin = 1\n")).policy.value.margin
    assert isinstance(margin, float)


def test_the_version_names_the_content_and_not_its_spelling(tmp_path: Path) -> None:
    def version(text: str) -> str:
        return load(policy_file(tmp_path, text)).policy.version

    default = read_policy(None).version
    assert version("# only a comment\n") == default
    assert version("[limits]\nmax_attempts = 8\n") == default
    assert version("[limits]\nmax_attempts = 7\n") != default


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[limits]\nmax_attemps = 5", "limits.max_attemps; did you mean max_attempts?"),
        ("[limit]\nmax_attempts = 5", "[limit]; did you mean limits?"),
        ("[limits]\nzzz = 5", "limits.zzz; expected one of"),
        ("limits = 5", "limits is 5"),
        ("[limits]\nmax_attempts = 'five'", "limits.max_attempts is 'five'"),
        ("[limits]\nmax_attempts = true", "limits.max_attempts is True"),
        ("[limits]\nmax_attempts = 2.5", "limits.max_attempts is 2.5; expected a whole number"),
        ("[limits]\nmax_attempts = 0", "limits.max_attempts is 0; expected 1 to"),
        ("[limits]\nmax_attempts_per_card_30_days = 36", "max_attempts_per_card_30_days is 36"),
        ("[value]\nmargin = nan", "value.margin is nan"),
        ("[comparison]\nholdout = 1.5", "comparison.holdout is 1.5; expected 0 to 1"),
        ("[methods]\ncharge_backups = 1", "methods.charge_backups is 1; expected true or false"),
        ("[review]\non_dispute = 'shrug'", "review.on_dispute is 'shrug'; expected one of"),
        ("[messages]\nrenewal_chance_below = 1.1", "renewal_chance_below is 1.1; expected 0 to 1"),
        ("[messages]\nrenewal_chance_below = -0.1", "renewal_chance_below is -0.1; expected 0"),
        ("[limits", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_policy_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    line = refusal(policy_file(tmp_path, text))
    assert "RETRY_ENGINE_CONFIG" in line
    assert named in line


def test_settings_cannot_be_changed_after_they_are_read() -> None:
    settings: Settings = load({})
    with pytest.raises(ValueError, match="frozen"):
        settings.__setattr__("mode", "takeover")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_uid: int) -> NoReturn:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(SettingsError, match=r"RETRY_ENGINE_HOME.*HOME.*expected"):
        load({})


EVENTS = {
    "RETRY_ENGINE_EVENTS_URL": "https://example.com/hooks?key=of-the-host",
    "RETRY_ENGINE_EVENTS_SECRET": "a_secret_of_the_host",
}


def test_the_host_application_has_an_address_and_a_secret() -> None:
    found = load(EVENTS)
    assert found.events_url == EVENTS["RETRY_ENGINE_EVENTS_URL"]
    assert found.events_host == "example.com"
    assert not any(secret in repr(found) for secret in ("of-the-host", "a_secret_of"))
    local = load({**EVENTS, "RETRY_ENGINE_EVENTS_URL": "http://127.0.0.1:9/hooks"})
    assert local.events_host == "127.0.0.1"
    assert load({}).events_url is None


@pytest.mark.parametrize(
    ("wrong", "names", "expected"),
    [
        ({"RETRY_ENGINE_EVENTS_SECRET": ""}, "RETRY_ENGINE_EVENTS_SECRET is not set", "16 char"),
        ({"RETRY_ENGINE_EVENTS_SECRET": "brief"}, "a text of 5 characters", "16 characters"),
        ({"RETRY_ENGINE_EVENTS_URL": ""}, "RETRY_ENGINE_EVENTS_URL is not", "both or neither"),
        ({"RETRY_ENGINE_EVENTS_URL": "http://example.com/x"}, "plain http", "https://"),
        ({"RETRY_ENGINE_EVENTS_URL": "ftp://example.com"}, "RETRY_ENGINE_EVENTS_URL", "https://"),
        ({"RETRY_ENGINE_EVENTS_URL": "example.com"}, "RETRY_ENGINE_EVENTS_URL", "https://"),
    ],
)
def test_half_a_host_application_or_an_open_line_to_it_is_refused(
    wrong: dict[str, str], names: str, expected: str
) -> None:
    line = refusal({**EVENTS, **wrong})
    assert names in line
    assert expected in line
    assert "brief" not in line
