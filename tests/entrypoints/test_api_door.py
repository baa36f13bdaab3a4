"""Who may come in by the API and the metrics, and what they may say."""

import asyncio
import re
from typing import Any

import pytest
import sqlalchemy.exc
from pydantic import SecretStr
from serving import ADMIN, METRICS, OPERATOR, VIEWER, Web, started
from starlette.requests import Request
from unstorable import UNSTORABLE

from retry_engine.domain.errors import reason_of
from retry_engine.domain.vocabulary import Role
from retry_engine.entrypoints.web.auth import Denied, Guard, Mistakes
from retry_engine.settings import ApiToken

pytestmark = pytest.mark.integration


# -- who may do what


def _as(web: Web, token: str | None, method: str, path: str, **more: Any) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return web.http.request(method, path, headers=headers, **more).status_code


SWITCH = {"action": "resume", "reason": "a test"}


@pytest.mark.parametrize(
    ("token", "read", "write"),
    [
        (VIEWER, 200, 403),
        (OPERATOR, 200, 200),
        (ADMIN, 200, 200),
        ("nobody's-own-token", 401, 401),
        (None, 401, 401),
    ],
)
def test_a_token_allows_what_its_role_does(
    guarded: Web, token: str | None, read: int, write: int
) -> None:
    assert _as(guarded, token, "GET", "/api/status") == read
    assert _as(guarded, token, "POST", "/api/engine", json=SWITCH) == write


def test_who_turned_the_switch_is_read_by_everybody_with_a_token_page_by_page(
    guarded: Web,
) -> None:
    for number in range(5):
        switch = {"action": ("pause", "resume")[number % 2], "reason": f"turn {number}"}
        assert _as(guarded, OPERATOR, "POST", "/api/engine", json=switch) == 200
    there = "/api/engine/log"
    read, seen, cursor = {"Authorization": f"Bearer {VIEWER}"}, [], ""
    for wanted in (2, 2, 1):
        page = guarded.http.get(f"{there}?limit=2&cursor={cursor}", headers=read).json()
        assert len(page["data"]) == wanted
        seen += [(act["action"], act["by"], act["reason"]) for act in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
    assert [reason for _, _, reason in seen] == [f"turn {n}" for n in (4, 3, 2, 1, 0)]
    assert {(act, by) for act, by, _ in seen} == {("pause", "ola"), ("resume", "ola")}
    assert (page["paused"], page["reason"], page["by"]) == (True, "turn 4", "ola")
    assert _as(guarded, None, "GET", there) == 401
    for wrong in ("limit=0", "limit=201", "cursor=x", "cursor=-1", "since=now"):
        assert _as(guarded, VIEWER, "GET", f"{there}?{wrong}") == 422


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/engine", {"action": "explode", "reason": "x"}, 422),
        ("/api/engine", {"action": "pause"}, 422),
        ("/api/engine", {"action": "pause", "reason": "x", "extra": 1}, 422),
        ("/api/cases/in_none/override", {"action": "pause", "reason": "x"}, 404),
        ("/api/cases/in_1/override", {"action": "retry", "reason": "x", "at": "soon"}, 422),
        ("/api/reviews/rev_none", {"verdict": "approve", "reason": "x"}, 404),
        ("/api/suppressions", {"email": "maria", "reason": "bounced"}, 422),
        ("/api/suppressions", {"email": "maria@example.com", "reason": "sad"}, 422),
        ("/api/suppressions", {"email": "maria@example.com"}, 422),
        ("/api/suppressions", {"email": "m@a.eu", "reason": "bounced", "account": "x"}, 422),
        ("/api/nothing", {}, 404),
    ],
)
def test_what_makes_no_sense_is_told_as_a_problem(
    guarded: Web, path: str, body: Any, status: int
) -> None:
    answer = guarded.http.post(path, json=body, headers={"Authorization": f"Bearer {OPERATOR}"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= set(answer.json())
    assert "maria" not in answer.text


def test_an_address_is_suppressed_by_an_operator_and_not_kept(
    guarded: Web, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {"email": "Maria@example.com", "reason": "complained"}
    assert _as(guarded, VIEWER, "POST", "/api/suppressions", json=body) == 403
    for _ in range(2):
        answer = guarded.http.post(
            "/api/suppressions", json=body, headers={"Authorization": f"Bearer {OPERATOR}"}
        )
        assert (answer.status_code, answer.json()) == (200, {"suppressed": True})
    elsewhere = {**body, "account": "acct_1"}
    assert _as(guarded, OPERATOR, "POST", "/api/suppressions", json=elsewhere) == 200
    with guarded.engine.database.connection() as connection:
        kept = connection.exec_driver_sql("select * from suppressions order by account").all()
    assert [(row.account, row.reason) for row in kept] == [
        ("", "complained"), ("acct_1", "complained"),
    ]  # fmt: skip
    lift: dict[str, Any] = {"email": "maria@example.com", "reason": "asked by phone"}
    there = "/api/suppressions/lift"
    assert _as(guarded, VIEWER, "POST", there, json=lift) == 403
    assert _as(guarded, OPERATOR, "POST", there, json=lift) == 409  # it was their own word
    lift["against_their_wish"] = True
    assert _as(guarded, ADMIN, "POST", there, json=lift) == 200
    assert _as(guarded, ADMIN, "POST", there, json=lift) == 404
    with guarded.engine.database.connection() as connection:
        query = "select act, reason, by, note from suppression_acts where account = '' order by id"
        acts = [tuple(row) for row in connection.exec_driver_sql(query)]
    assert acts == [
        ("suppressed", "complained", "ola", None), ("lifted", None, "ann", "asked by phone"),
    ]  # fmt: skip
    assert "maria" not in f"{kept} {''.join(capfd.readouterr())}".casefold()


def test_the_pages_for_programs_answer(guarded: Web) -> None:
    web = guarded
    web.http.headers["Authorization"] = f"Bearer {ADMIN}"
    described = web.http.get("/api/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    assert {"/api/status", "/api/cases", "/api/cases/{case}/override"} <= set(described["paths"])
    (refers,) = described["paths"]["/api/suppressions"]["post"]["requestBody"]["content"].values()
    name = refers["schema"]["$ref"].rpartition("/")[2]
    assert set(described["components"]["schemas"][name]["required"]) == {"email", "reason"}
    assert web.http.get("/api/cases").json() == {
        "data": [],
        "has_more": False,
        "next_cursor": None,
    }
    assert web.http.get("/api/cases?limit=0").status_code == 422
    headers = {"Authorization": f"Bearer {METRICS}"}
    metrics = web.http.get("/metrics", headers=headers).text
    assert "retry_engine_actions_due 0.0" in metrics


# -- what is closed, and to whom


@pytest.mark.parametrize("path", ["/api/status", "/api/openapi.json", "/metrics"])
@pytest.mark.parametrize(
    "headers", [{}, {"X-Forwarded-For": "127.0.0.1"}, {"Host": "evil.example"}]
)
def test_without_a_token_only_health_is_served(
    web: Web, path: str, headers: dict[str, str]
) -> None:
    answer = web.http.get(path, headers=headers)
    assert answer.status_code == 403
    assert "not set" in answer.json()["detail"]
    assert web.http.get("/healthz", headers=headers).status_code == 200
    assert web.http.get("/readyz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("localhost", {}, 200),
        ("::1", {}, 200),
        ("0.0.0.0", {}, 403),  # bound to the world
        ("", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"X-Real-IP": "10.0.0.1"}, 403),
        ("127.0.0.1", {"Host": "rebound.example"}, 403),
    ],
)
def test_reading_without_a_token_is_asked_for_and_from_here_alone(
    database_url: str, redis_url: str, host: str, headers: dict[str, str], status: int
) -> None:
    engine = started(database_url, redis_url, RETRY_ENGINE_API_OPEN="loopback")
    with engine, Web(engine, host=host) as web:
        for path in ("/api/status", "/metrics"):
            assert web.http.get(path, headers=headers).status_code == status
        assert _as(web, None, "POST", "/api/engine", json=SWITCH) == 403


def test_the_scraper_and_the_people_have_tokens_of_their_own(guarded: Web) -> None:
    assert _as(guarded, METRICS, "GET", "/metrics") == 200
    assert _as(guarded, METRICS, "GET", "/api/status") == 401
    assert _as(guarded, ADMIN, "GET", "/metrics") == 401
    assert _as(guarded, None, "GET", "/metrics") == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/cases/in_none/override", {"action": "migrate_policy", "reason": "x"}),
        (
            "/api/suppressions/lift",
            {"email": "m@example.com", "reason": "x", "against_their_wish": True},
        ),
    ],
)
def test_some_acts_are_for_admins_alone(guarded: Web, path: str, body: Any) -> None:
    assert _as(guarded, VIEWER, "POST", path, json=body) == 403
    assert _as(guarded, OPERATOR, "POST", path, json=body) == 403
    assert _as(guarded, ADMIN, "POST", path, json=body) in (404, 409)


def test_wrong_tokens_are_counted_told_and_not_written_down(
    guarded: Web, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert _as(guarded, "a-token-that-nobody-has", "GET", "/api/status") == 401
    assert _as(guarded, "a-token-that-nobody-has", "GET", "/metrics") == 401
    headers = {"Authorization": f"Bearer {METRICS}"}
    page = guarded.http.get("/metrics", headers=headers).text
    assert 'retry_engine_wrong_credentials_total{door="api"} 2.0' in page
    assert 'retry_engine_wrong_credentials_total{door="metrics"} 1.0' in page
    said = "".join(capfd.readouterr())
    assert said.count("wrong_credentials") == 3
    assert "127.0.0.1" in said
    assert "a-token-that-nobody-has" not in said


def _asked_by(token: str, *, peer: str = "203.0.113.9") -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/api/status",
            "query_string": b"",
            "headers": [(b"authorization", b"Bearer " + token.encode())],
            "client": (peer, 1),
        }
    )


class Waits:
    """Time that passes only when somebody is kept waiting."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


def _guard(waits: Waits) -> Guard:
    token = ApiToken(name="ola", role=Role.OPERATOR, token=SecretStr(OPERATOR))
    return Guard(
        tokens=[token], metrics_token=None, open_to_loopback=False, clock=lambda: 0.0, sleep=waits
    )


def test_who_guesses_waits_longer_each_time_and_nobody_else_waits() -> None:
    waits = Waits()
    guard = _guard(waits)

    async def guesses() -> None:
        for number in range(12):
            with pytest.raises(Denied) as caught:
                await guard.api(_asked_by(f"a-guess-{number}"))
            assert caught.value.status == 401
        assert (await guard.api(_asked_by(OPERATOR))).name == "ola"  # from the same address
        with pytest.raises(Denied):
            await guard.api(_asked_by("a-first-mistake", peer="203.0.113.10"))

    asyncio.run(guesses())
    assert len(waits.asked) == 9
    assert waits.asked == sorted(waits.asked)
    assert 0 < waits.asked[0] < waits.asked[-1] <= 5


def test_guesses_from_everywhere_need_no_memory() -> None:
    mistakes = Mistakes(lambda: 0.0)
    for number in range(5000):
        mistakes.note(f"2001:db8:{number:x}::/64")
    assert len(mistakes) <= 1024


# -- whatever anybody sends


STRANGE = {
    "nul": "%00",
    "nul inside": "in_%00x",
    "no utf-8": "%ff%fe",
    "half a pair": "%ed%a0%80",
    "digits": "9" * 5000,
    "text": "a" * 5000,
    "negative": "-1",
    "fraction": "1e309",
    "newline": "%0a%0d",
    "quote": "'%22%3b--",
    "digits of another script": "%D9%A3",
}


def _operations(web: Web) -> list[tuple[str, str, list[str], bool]]:
    """(method, path, names of query parameters, whether there is a body) of all of the API."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    described = web.http.get("/api/openapi.json", headers=headers).json()
    found = [
        (
            method.upper(),
            path,
            [p["name"] for p in operation["parameters"] if p["in"] == "query"],
            "requestBody" in operation,
        )
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    pages = ["/r/{t}", "/u/{t}", "/c/{t}", "/r/assets/{t}", "/{t}", "/healthz", "/metrics"]
    found += [("GET", page, ["x", "added", "at"], False) for page in pages]
    acts = ["/r/{t}/offer", "/r/{t}/change/{t}", "/r/{t}/portal", "/c/{t}/portal", "/u/{t}"]
    return found + [("POST", act, [], True) for act in acts]


def test_nothing_that_is_sent_to_any_endpoint_is_an_error_of_ours(guarded: Web) -> None:
    known = {"Authorization": f"Bearer {ADMIN}"}
    asked = 0
    for method, path, names, has_body in _operations(guarded):
        # there it would be a wrong token, and those are answered ever more slowly
        headers = {} if path == "/metrics" else known
        bodies = list(UNSTORABLE.values()) if has_body else [None]
        addresses = {re.sub(r"\{\w+\}", strange, path) for strange in STRANGE.values()}
        plain = re.sub(r"\{\w+\}", "none", path)
        queries = [f"{plain}?{n}={strange}" for n in names for strange in STRANGE.values()]
        queries += [f"{plain}?{strange}=1" for strange in ("%00", "%ff%fe")]
        sent = [(a, b'{"reason": "x"}' if has_body else None) for a in (*addresses, *queries)]
        sent += [(plain, body) for body in bodies]
        for address, body in sent:
            answer = guarded.http.request(method, address, headers=headers, content=body)
            is_free = path in ("/healthz", "/metrics") or answer.status_code < 300
            assert answer.status_code < 500, (method, address[:80], body and body[:40], answer.text)
            assert is_free or 400 <= answer.status_code < 500, (method, address[:80])
            asked += 1
    assert asked > 300
    assert _as(guarded, ADMIN, "GET", "/api/status") == 200


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_at_the_end_of_time_is_told_as_a_problem(guarded: Web, at: str) -> None:
    body = {"action": "retry", "reason": "x", "at": at}
    status = _as(guarded, ADMIN, "POST", "/api/cases/in_none/override", json=body)
    assert 400 <= status < 500


# -- what is not to be learnt from an error


def test_an_answer_names_no_host_no_port_and_no_statement(redis_url: str) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    engine = started(nowhere, redis_url, RETRY_ENGINE_API_TOKEN=f"ann:admin:{ADMIN}")
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with engine, Web(engine) as web:
        for method, path, _, has_body in _operations(web):
            body = {"action": "pause", "reason": "x"} if has_body else None
            plain = re.sub(r"\{\w+\}", "none", path)
            answer = web.http.request(method, plain, headers=headers, json=body)
            assert answer.status_code != 500, (method, plain)
            for told in ("127.0.0.1", "nobody", "port 1", "psycopg", "OperationalError"):
                assert told not in answer.text, (plain, answer.text)
        assert "127.0.0.1" not in web.http.get("/readyz").text


@pytest.mark.parametrize(
    "error",
    [
        sqlalchemy.exc.IntegrityError("insert into cases", {"x": 1}, Exception("host db-7")),
        ConnectionRefusedError("db-7:5432"),
        KeyError("maria@example.com"),
    ],
)
def test_a_reason_that_is_kept_holds_nothing_of_a_foreign_errors_text(error: Exception) -> None:
    reason = reason_of(error)
    assert type(error).__name__ in reason
    for told in ("db-7", "insert", "maria"):
        assert told not in reason
