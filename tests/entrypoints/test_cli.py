"""What a person at a terminal gets, from the real program."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from returned_mail import bounce, complaint, recipient
from sandbox_shop import Shop

import retry_engine
from retry_engine.settings import names

pytestmark = pytest.mark.integration


def run(
    *arguments: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("STRIPE", "RETRY_ENGINE"))}
    for name in ("DATABASE_URL", "REDIS_URL", "PORT"):
        clean.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "retry_engine.entrypoints.cli", *arguments],
        env={**clean, **(env or {})},
        cwd=cwd,
        input=stdin.decode() if stdin is not None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def env(database_url: str, redis_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


def _one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("retry-engine: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_the_help_names_the_commands(tmp_path: Path) -> None:
    shown = run("--help", cwd=tmp_path).stdout
    for name in ("demo", "up", "sandbox", "migrate", "web", "worker", "beat", "doctor", "status"):
        assert name in shown


@pytest.mark.parametrize("command", ["history", "model", "nonsense"])
def test_what_is_no_command_or_half_of_one_is_bad_usage(command: str, tmp_path: Path) -> None:
    assert run(command, cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"STRIPE_API_KEY": "pk_test_123456789"}, "STRIPE_API_KEY"),
        ({"RETRY_ENGINE_MODE": "both"}, "RETRY_ENGINE_MODE"),
        ({"RETRY_ENGINE_CONFIG": "/nowhere/policy.toml"}, "RETRY_ENGINE_CONFIG"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        ({"RETRY_ENGINE_API_TOKEN": "justone"}, "RETRY_ENGINE_API_TOKEN"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(
    wrong: dict[str, str], names: str, tmp_path: Path, env: dict[str, str]
) -> None:
    result = run("status", env={**env, **wrong}, cwd=tmp_path)
    assert result.returncode == 2
    assert names in _one_line(result)


def test_a_missing_key_is_said_at_once(tmp_path: Path, env: dict[str, str]) -> None:
    result = run("worker", env=env, cwd=tmp_path)
    assert result.returncode == 2
    assert "STRIPE_API_KEY is not set" in _one_line(result)


def test_an_unreachable_database_is_one_line(tmp_path: Path, env: dict[str, str]) -> None:
    nowhere = {**env, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    result = run("status", env=nowhere, cwd=tmp_path)
    assert result.returncode == 1
    assert "PostgreSQL cannot be reached" in _one_line(result)


def test_an_unknown_case_is_one_line(tmp_path: Path, env: dict[str, str]) -> None:
    result = run("cases", "show", "in_none", env=env, cwd=tmp_path)
    assert result.returncode == 1
    assert "in_none" in _one_line(result)


def test_a_reason_is_required(tmp_path: Path, env: dict[str, str]) -> None:
    assert run("engine", "pause", env=env, cwd=tmp_path).returncode == 2


def test_status_is_one_json_document(tmp_path: Path, env: dict[str, str]) -> None:
    result = run("status", "--json", env=env, cwd=tmp_path)
    assert result.returncode == 0
    assert {
        "inbox_pending",
        "actions_due",
        "actions_in_flight",
        "actions_planned",
        "cases_open",
        "cases_in_review",
        "paused",
        "mode",
        "model",
    } <= set(json.loads(result.stdout))


def test_the_engine_is_paused_and_resumed(tmp_path: Path, env: dict[str, str]) -> None:
    assert run("engine", "pause", "--reason", "a test", env=env, cwd=tmp_path).returncode == 0
    assert json.loads(run("status", "--json", env=env, cwd=tmp_path).stdout)["paused"] is True
    run("engine", "resume", "--reason", "over", env=env, cwd=tmp_path)
    assert json.loads(run("status", "--json", env=env, cwd=tmp_path).stdout)["paused"] is False


def test_doctor_says_what_is_missing_and_how_to_mend_it(
    tmp_path: Path, env: dict[str, str]
) -> None:
    result = run("doctor", "--json", env=env, cwd=tmp_path)
    assert result.returncode == 1
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["database"]["status"] == "ok"
    assert rows["stripe key"]["status"] == "fail"
    assert rows["stripe key"]["mend"]


@pytest.fixture
def stripe_env(env: dict[str, str], shop: Shop) -> dict[str, str]:
    return {**env, "STRIPE_API_KEY": "sk_test_shop00000000", "STRIPE_API_BASE": shop.url}


def test_a_backfill_reads_stripe_and_says_how_far_it_is(
    tmp_path: Path, stripe_env: dict[str, str], shop: Shop
) -> None:
    shop.failed_renewal("insufficient_funds")
    command = ("history", "backfill", "--since", "2026-01-01")
    result = run(*command, "--json", env=stripe_env, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["charges"], found["invoices"], found["new"]) == (2, 1, 1)
    assert "100% back to 2026-03-02: 2 charges read, 1 failed invoices, 1 new rows" in result.stderr
    again = run(*command, env=stripe_env, cwd=tmp_path)
    assert "0 new rows, 0 read anew" in again.stdout


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "2026-01-01T00:00:00", "2999-01-01"])
def test_a_bad_date_is_bad_usage(tmp_path: Path, stripe_env: dict[str, str], since: str) -> None:
    result = run("history", "backfill", "--since", since, env=stripe_env, cwd=tmp_path)
    assert result.returncode == 2
    assert "--since is" in _one_line(result)


def test_a_backfill_without_a_key_is_told_at_once(tmp_path: Path, env: dict[str, str]) -> None:
    result = run("history", "backfill", "--since", "2026-01-01", env=env, cwd=tmp_path)
    assert result.returncode == 2
    assert "STRIPE_API_KEY is not set" in _one_line(result)


def test_a_wrong_key_is_one_line_without_the_key(
    tmp_path: Path, stripe_env: dict[str, str]
) -> None:
    wrong = {**stripe_env, "STRIPE_API_KEY": "sk_test_expired_nobodys0"}
    result = run("history", "backfill", "--since", "2026-01-01", env=wrong, cwd=tmp_path)
    assert result.returncode == 1
    assert "401, the API key is not accepted" in _one_line(result)
    assert "nobodys" not in result.stderr


def test_a_key_that_may_not_read_charges_is_one_line(
    tmp_path: Path, stripe_env: dict[str, str], shop: Shop
) -> None:
    shop.faults(forbidden=["charges"])
    result = run("history", "backfill", "--since", "2026-01-01", env=stripe_env, cwd=tmp_path)
    assert result.returncode == 1
    assert "charges.read: 403, the API key lacks the permission for it" in _one_line(result)


def test_an_unreachable_stripe_is_one_line_that_says_how_to_go_on(
    tmp_path: Path, stripe_env: dict[str, str]
) -> None:
    away = {**stripe_env, "STRIPE_API_BASE": "http://127.0.0.1:9"}
    result = run("history", "backfill", "--since", "2026-01-01", env=away, cwd=tmp_path)
    assert result.returncode == 1
    assert "run it again to carry on" in _one_line(result)


# -- who is not written to again


def test_an_address_is_suppressed_by_hand_and_counted(tmp_path: Path, env: dict[str, str]) -> None:
    done = run("messages", "suppress", "maria@example.com", "--reason", "bounced", env=env,
               cwd=tmp_path)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "This address is not written to again.\n")
    assert "maria" not in done.stderr
    counted = run("messages", "suppressed", "--json", env=env, cwd=tmp_path)
    assert json.loads(counted.stdout) == {"bounced": 1, "complained": 0, "unsubscribed": 0}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["maria", "--reason", "bounced"], "not an e-mail address"),
        (["maria@example.com", "--reason", "sad"], "expected one of bounced"),
        (["maria@example.com", "--reason", "bounced", "--account", "x"], "expected acct_"),
    ],
)
def test_what_cannot_be_suppressed_is_bad_usage_in_one_line(
    tmp_path: Path, env: dict[str, str], arguments: list[str], says: str
) -> None:
    result = run("messages", "suppress", *arguments, env=env, cwd=tmp_path)
    assert result.returncode == 2
    line = _one_line(result)
    assert says in line
    assert "maria" not in line


def test_a_report_about_no_letter_of_ours_silences_nobody(
    tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "bounce.eml").write_bytes(bounce(recipient(), message="case_1.1." + "0" * 32))
    for file, told in (("bounce.eml", None), ("-", complaint(to="two@example.com"))):
        refused = run("messages", "bounce", file, env=env, cwd=tmp_path, stdin=told)
        assert refused.returncode == 1
        assert "no Message-ID along that this engine has signed" in _one_line(refused)
    counted = run("messages", "suppressed", env=env, cwd=tmp_path)
    assert counted.stdout.split() == ["0", "bounced", "0", "complained", "0", "unsubscribed"]


def test_a_suppression_is_lifted_by_name_and_its_history_stays(
    tmp_path: Path, env: dict[str, str]
) -> None:
    who = ("--by", "alice")
    run("messages", "suppress", "maria@example.com", "--reason", "unsubscribed", *who, env=env,
        cwd=tmp_path)  # fmt: skip
    lift = ("messages", "unsuppress", "maria@example.com", "--reason", "she asked", *who)
    refused = run(*lift, env=env, cwd=tmp_path)
    assert refused.returncode == 1
    assert "asked for no more messages" in _one_line(refused)
    done = run(*lift, "--against-their-wish", env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "This address may be written to again.\n")
    told = run("messages", "suppressed", "maria@example.com", "--json", env=env, cwd=tmp_path)
    acts = [(a["act"], a["reason"], a["by"], a["note"]) for a in json.loads(told.stdout)]
    assert acts == [
        ("suppressed", "unsubscribed", "alice", None), ("lifted", None, "alice", "she asked"),
    ]  # fmt: skip


def test_a_mail_that_is_no_report_is_refused_in_one_line(
    tmp_path: Path, env: dict[str, str]
) -> None:
    refused = run("messages", "bounce", "-", env=env, cwd=tmp_path, stdin=b"Subject: hi\n\nhello")
    assert refused.returncode == 1
    assert "no report" in _one_line(refused)
    missing = run("messages", "bounce", "none.eml", env=env, cwd=tmp_path)
    assert missing.returncode == 2
    assert "none.eml cannot be read" in _one_line(missing)


# -- what is said of oneself, and of what went wrong


def test_the_version_is_told() -> None:
    found = run("--version")
    assert (found.returncode, found.stderr) == (0, "")
    assert re.fullmatch(r"retry-engine \d+\.\d+\.\d+\S*\n", found.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (("cases", "show", "in_none"), 1, "NotFound"),
        (("cases", "list", "--state", "merry"), 2, "BadRequest"),
        (("cases", "list", "--limt", "3"), 2, "BadUsage"),
        (("cases", "explain", "in_none", "--at", "friday"), 2, "BadRequest"),
    ],
)
def test_who_asks_for_a_document_gets_the_error_as_one_and_the_reason_beside_it(
    env: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], code: int, kind: str
) -> None:
    with_json = run(*arguments, "--json", env=env, cwd=tmp_path)
    error = json.loads(with_json.stdout)["error"]
    assert (with_json.returncode, error["exit_code"], error["kind"]) == (code, code, kind)
    assert " ".join(error["message"].split()[:3]) in with_json.stderr
    plain = run(*arguments, env=env, cwd=tmp_path)
    assert (plain.returncode, plain.stdout) == (code, "")


@pytest.mark.parametrize("command", ["web", "up", "sandbox"])
def test_a_port_that_is_taken_is_one_line(
    env: dict[str, str], tmp_path: Path, command: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        more = {"STRIPE_API_KEY": "sk_test_cli0000000", "STRIPE_WEBHOOK_SECRET": "whsec_cli"}
        found = run(command, "--port", port, env={**env, **more}, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"retry-engine: cannot listen on 127.0.0.1 port {port}: ")


def test_a_misspelt_variable_is_named_by_each_command_and_by_the_doctor(
    env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("RETRY_ENGINE_WORKRES=8\n")
    odd = {"RETRY_ENGINE_PUBLC_URL": "https://x.example", "RETRY_ENGINE_PORT_8000_TCP": "tcp://"}
    told = {
        "RETRY_ENGINE_PUBLC_URL": "did you mean RETRY_ENGINE_PUBLIC_URL?",
        "RETRY_ENGINE_WORKRES": "did you mean RETRY_ENGINE_WORKERS?",
    }
    status = run("status", "--json", env={**env, **odd}, cwd=tmp_path)
    assert json.loads(status.stdout)["mode"]
    doctor = run("doctor", "--json", env={**env, **odd}, cwd=tmp_path)
    (row,) = (row for row in json.loads(doctor.stdout) if row["name"] == "settings")
    assert row["status"] == "warn"
    for name, meant in told.items():
        for said in (status.stderr, row["detail"]):
            assert f"{name} is no setting and has no effect; {meant}" in said
    assert "8000_TCP" not in status.stderr


def test_every_variable_that_is_read_is_known() -> None:
    sources = (Path(retry_engine.__file__).parent).rglob("*.py")
    read = {
        name
        for source in sources
        if source.name != "names.py"
        for name in re.findall(r"RETRY_ENGINE_[A-Z_]*[A-Z]", source.read_text(encoding="utf-8"))
    }
    assert read == names.OURS


def test_the_doctor_goes_through_its_rows_while_the_database_is_down(tmp_path: Path) -> None:
    away = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1",
        "STRIPE_API_KEY": "sk_test_cli0000000", "STRIPE_API_BASE": "http://127.0.0.1:1",
    }  # fmt: skip
    found = run("doctor", "--json", env=away, cwd=tmp_path)
    rows = {row["name"]: row["status"] for row in json.loads(found.stdout)}
    assert found.returncode == 1
    assert (rows["database"], rows["broker"], rows["settings"]) == ("fail", "fail", "ok")
    assert {"stripe key", "webhook secret"} <= set(rows)


def test_the_report_is_written_as_asked(env: dict[str, str], tmp_path: Path) -> None:
    asked = run("report", "--since", "2026-01-01", "--json", env=env, cwd=tmp_path)
    assert json.loads(asked.stdout)["since"] == "2026-01-01T00:00:00Z"
    page = run("report", "--format", "html", env=env, cwd=tmp_path)
    assert page.stdout.startswith("<!doctype html>")
    wrong = run("report", "--until", "soon", env=env, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--until is 'soon'" in _one_line(wrong)
