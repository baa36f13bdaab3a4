"""`retry-engine`: commands parse, call one thing, and print. A user never sees a traceback."""

import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from retry_engine.domain.errors import BadRequest, Refused, RetryEngineError, SettingsError

if TYPE_CHECKING:  # each command imports what it needs: `--help` must not wait for a database
    from retry_engine.bootstrap import Engine
    from retry_engine.settings import Settings

app = typer.Typer(
    name="retry-engine",
    help="Recovers failed subscription payments on Stripe Billing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
cases = typer.Typer(no_args_is_help=True, help="Recovery cases: look at them, override them.")
reviews = typer.Typer(no_args_is_help=True, help="What waits for a person.")
engine_app = typer.Typer(no_args_is_help=True, help="The stop for everything.")
events = typer.Typer(no_args_is_help=True, help="Stripe's events that could not be handled.")
history = typer.Typer(no_args_is_help=True, help="The attempt log: what the model learns from.")
messages = typer.Typer(no_args_is_help=True, help="What customers are written.")
model = typer.Typer(no_args_is_help=True, help="The success model: train, judge, promote.")
app.add_typer(cases, name="cases")
app.add_typer(reviews, name="reviews")
app.add_typer(engine_app, name="engine")
app.add_typer(events, name="events")
app.add_typer(history, name="history")
app.add_typer(model, name="model")
app.add_typer(messages, name="messages")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Case = Annotated[str, typer.Argument(metavar="CASE", help="A case's id or its invoice's (in_…).")]
Reason = Annotated[str, typer.Option(help="Why; kept with what was done.")]
By = Annotated[str | None, typer.Option(help="Who; else the user of this machine.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Account = Annotated[str, typer.Option(help="A connected account (acct_…); else yours.")]
Version = Annotated[str | None, typer.Argument(metavar="[V]", help="Else the active one.")]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Write the calibration plot there.")
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port; else PORT, else 8000.")]

_DEFAULT_PORT = 8000


# -- running things


@app.command()
def demo(
    invoices: Annotated[int, typer.Option(min=1, max=5000, help="Failed renewals.")] = 200,
    days: Annotated[int, typer.Option(min=1, max=90, help="Days to play.")] = 30,
    seed: Annotated[int, typer.Option(help="Which population.")] = 1,
    messages: Annotated[
        bool, typer.Option("--messages", help="Write to the customers too; they read their mail.")
    ] = False,
    offers: Annotated[
        bool, typer.Option("--offers", help="Offer discounts in messages too, where they pay.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Play the main job in minutes: the real engine beside a sandbox Stripe."""
    from retry_engine.entrypoints import demo as play

    raise typer.Exit(
        play.run(
            invoices=invoices,
            days=days,
            seed=seed,
            messages=messages or offers,
            offers=offers,
            as_json=as_json,
        )
    )


@app.command()
def up(host: Host = None, port: Port = None) -> None:
    """Web, worker and beat under one roof, against the Stripe of the settings."""
    from retry_engine import telemetry
    from retry_engine.entrypoints.supervisor import Child, Supervisor

    with _servers(_settings(webhooks=True)) as (settings, environment):
        telemetry.configure("up", log_format=settings.log_format)
        _migrated(settings)
        address = ["--host", _host(host), "--port", str(_port(port))]
        children = [
            Child(name=name, argv=_command(name, *arguments), env=environment)
            for name, arguments in (("web", address), ("worker", []), ("beat", []))
        ]
        raise typer.Exit(Supervisor(children).run())


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 12111,
    seed: Annotated[int, typer.Option(help="Of everything random in it.")] = 1,
    webhook_url: Annotated[str | None, typer.Option(help="Where to send events.")] = None,
    webhook_secret: Annotated[str | None, typer.Option(help="What to sign them with.")] = None,
    smtp_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Take mail there for its people.")
    ] = None,
) -> None:
    """A sandbox Stripe alone, for trying the engine without an account."""
    from retry_engine.sandbox.server import serve

    serve(
        host=host,
        port=port,
        seed=seed,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        smtp_port=smtp_port,
    )


@app.command()
def migrate(
    to: Annotated[str, typer.Option(help="A revision: head, base, or its name.")] = "head",
) -> None:
    """Bring the database's schema to a revision."""
    with _engine() as engine:
        engine.migrate(to)
    print(f"The schema is at {to}.")


@app.command()
def web(host: Host = None, port: Port = None) -> None:
    """The web process: webhooks, API, probes, metrics."""
    from retry_engine.entrypoints.web.app import serve

    with _servers(_settings(webhooks=True)) as (settings, environment):
        if not environment:
            serve(settings, host=_host(host), port=_port(port))
        else:
            _migrated(settings)
            serve(settings, host=_host(host), port=_port(port))


@app.command()
def worker() -> None:
    """A worker: handles events and carries out what is due."""
    from retry_engine.entrypoints.worker import run_worker

    with _servers(_settings(stripe=True)) as (settings, _):
        raise typer.Exit(run_worker(settings))


@app.command()
def beat() -> None:
    """The ticks that make workers look for what is due."""
    from retry_engine.entrypoints.worker import run_beat

    with _servers(_settings()) as (settings, _):
        raise typer.Exit(run_beat(settings))


# -- looking


@app.command()
def doctor(as_json: Json = False) -> None:
    """Is everything in its place? One row each, with the mend."""
    with _engine() as engine:
        checks = engine.doctor.examine()
    if as_json:
        _print_json(
            [
                {"name": c.name, "status": c.status, "detail": c.detail, "mend": c.mend}
                for c in checks
            ]
        )
    else:
        _rendering().show_checks(checks)
    raise typer.Exit(1 if any(c.status == "fail" for c in checks) else 0)


@app.command()
def status(as_json: Json = False) -> None:
    """How much work there is, by each case's own clock."""
    with _engine() as engine:
        _show(engine.health.status(), as_json, lambda found: _rendering().show_status(found))


@cases.command("list")
def list_cases(
    state: Annotated[str | None, typer.Option(help="Only cases in this state.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's (cus_…).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    as_json: Json = False,
) -> None:
    """Cases, newest first."""
    with _engine() as engine:
        found = engine.operations.list_cases(
            state=state, customer=customer, limit=limit, cursor=cursor
        )
    _show(found, as_json, lambda page: _rendering().show_cases(page))


@cases.command("show")
def show_case(case: Case, as_json: Json = False) -> None:
    """One case: its life as a timeline."""
    with _engine() as engine:
        found = engine.operations.show_case(case)
    _show(found, as_json, lambda whole: _rendering().show_case(whole))


@cases.command("explain")
def explain_case(case: Case, as_json: Json = False) -> None:
    """Why the engine decided what it did, with the chances drawn over the days."""
    with _engine() as engine:
        found = engine.operations.explain_case(case)
    _show(found, as_json, lambda why: _rendering().show_explanation(why))


# -- overriding


@cases.command("retry")
def retry_case(
    case: Case,
    reason: Reason,
    at: Annotated[str | None, typer.Option(help="When (RFC 3339); else now.")] = None,
    method: Annotated[str | None, typer.Option(help="On what (pm_…); else as planned.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Charge at a time of your choice, inside the networks' rules."""
    wanted = _time(at) if at is not None else None
    _override(case, "retry", reason, by, as_json, at=wanted, payment_method=method)


def _add_override(name: str, says: str) -> None:
    def command(case: Case, reason: Reason, by: By = None, as_json: Json = False) -> None:
        _override(case, name, reason, by, as_json)

    command.__doc__ = says
    cases.command(name.replace("_", "-"))(command)


for _name, _says in (
    ("pause", "Nothing is charged until it is resumed."),
    ("resume", "Go on with a paused case."),
    ("stop", "Close the case; nobody charges the invoice any more, nor does Stripe."),
    ("release", "Close the case; Stripe's own retries are given back where the rules allow it."),
    ("hold", "Put the case into the review queue."),
    ("note", "Write something into the case's history."),
    ("migrate_policy", "Continue the case on today's policy."),
):
    _add_override(_name, _says)


@reviews.command("list")
def list_reviews(
    state: Annotated[str, typer.Option(help="open, approved, rejected, withdrawn.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: Json = False,
) -> None:
    """What waits for a person, the longest waiting first."""
    with _engine() as engine:
        found = engine.operations.list_reviews(state=state, limit=limit)
    _show(found, as_json, lambda page: _rendering().show_reviews(page))


@reviews.command("approve")
def approve(
    review: Annotated[str, typer.Argument(metavar="ID")],
    reason: Reason,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Carry out what is proposed."""
    _decide(review, "approve", reason, by, as_json)


@reviews.command("reject")
def reject(
    review: Annotated[str, typer.Argument(metavar="ID")],
    reason: Reason,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Drop what is proposed; the case is paused until a person resumes it."""
    _decide(review, "reject", reason, by, as_json)


@engine_app.command("pause")
def pause_engine(reason: Reason, by: By = None, as_json: Json = False) -> None:
    """No money moves until it is resumed; returns when no charge is under way."""
    _switch("pause", reason, by, as_json)


@engine_app.command("resume")
def resume_engine(reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Go on."""
    _switch("resume", reason, by, as_json)


@engine_app.command("log")
def engine_log(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where an earlier page ended.")] = None,
    as_json: Json = False,
) -> None:
    """Who paused and resumed the engine, newest first, and why."""
    with _engine() as engine:
        found = engine.operations.engine_log(limit=limit, cursor=cursor)
    _show(found, as_json, lambda log: _rendering().show_engine_log(log))


@events.command("dead")
def dead_events(as_json: Json = False) -> None:
    """Events that were given up, with their errors."""
    with _engine() as engine:
        found = engine.operations.dead_letters()
    _show(found, as_json, lambda rows: _rendering().show_dead(rows))


@events.command("replay")
def replay(event_id: Annotated[str, typer.Argument(metavar="EVENT")]) -> None:
    """Handle a dead event anew."""
    with _engine() as engine:
        engine.operations.replay_event(event_id)
    print(f"{event_id} will be handled anew.")


@history.command("import")
def import_history(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="CSV or Parquet.")],
    as_json: Json = False,
) -> None:
    """Take in attempt logs; all of the files or, where one is bad, none."""
    with _engine() as engine:
        found = engine.learning.import_files(files)
    for file in found["files"]:
        if file["columns_aside"]:
            names = ", ".join(file["columns_aside"])
            sys.stderr.write(f"{file['file']}: unknown columns put aside: {names}\n")
    _show(found, as_json, lambda f: _rendering().show_imported(f))


@history.command("backfill")
def backfill_history(
    since: Annotated[str, typer.Option(help="A day (2026-01-31, UTC) or an RFC 3339 time.")],
    account: Annotated[str, typer.Option(help="A connected account (acct_…); else yours.")] = "",
    as_json: Json = False,
) -> None:
    """Read what failed in Stripe before the engine was there; run it again to carry on."""
    wanted = _since(since)
    with _engine(stripe=True) as engine, _rendering().backfill_progress() as on_progress:
        found = engine.backfill.run(wanted, account=account, on_progress=on_progress)
    _show(found, as_json, lambda f: _rendering().show_backfill(f))


@history.command("export")
def export_history(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To write: .csv or .parquet.")],
    as_json: Json = False,
) -> None:
    """Write the attempt log, imported rows and the engine's own."""
    with _engine() as engine:
        found = engine.learning.export_file(file)
    _show(found, as_json, lambda f: print(f"{f['rows']} rows in {f['file']}"))


@messages.command("preview")
def preview_messages(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.html", help="To write; its text beside it.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            help="payment_failed, update_method, authenticate, card_expiring or renewal_at_risk."
        ),
    ] = "payment_failed",
    language: Annotated[str, typer.Option(help="en, de, fr, es, it, nl or pt.")] = "en",
    discount: Annotated[int, typer.Option(help="Percent off that it offers.", min=0, max=99)] = 0,
) -> None:
    """Write a message as a customer would get it, with made-up facts."""
    with _engine() as engine:
        engine.customers.preview_message(file, kind=kind, language=language, discount=discount)
    print(f"{file} and {file.with_suffix('.txt')} are written.")


@messages.command("suppress")
def suppress_address(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="name@example.com")],
    reason: Annotated[str, typer.Option(help="bounced, complained or unsubscribed.")],
    note: Annotated[str | None, typer.Option(help="How that is known; kept with it.")] = None,
    by: By = None,
    account: Account = "",
    as_json: Json = False,
) -> None:
    """Never write to an address again; only a keyed hash of it is kept."""
    from retry_engine.recovery.messaging import suppression

    suppression.checked(address, reason, account)  # before anything is started for it
    with _engine() as engine:
        found = engine.suppressions.suppress(
            address, reason=reason, by=_who(by), account=account, note=note
        )
    _show(found, as_json, lambda _: print("This address is not written to again."))


@messages.command("unsuppress")
def unsuppress_address(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="name@example.com; cus_… where there is none.")
    ],
    reason: Reason,
    by: By = None,
    account: Account = "",
    against_their_wish: Annotated[
        bool, typer.Option("--against-their-wish", help="Also where the customer unsubscribed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let an address be written to again; that it was is kept."""
    from retry_engine.recovery.messaging import suppression

    suppression.checked_address(address, account)
    with _engine() as engine:
        found = engine.suppressions.lift(
            address,
            reason=reason,
            by=_who(by),
            account=account,
            against_their_wish=against_their_wish,
        )
    _show(found, as_json, lambda _: print("This address may be written to again."))


@messages.command("bounce")
def heed_bounce(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A mail; - for standard input.")],
    account: Annotated[
        str | None, typer.Option(help="Only where the letter is of that account (acct_…).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take a bounce (RFC 3464) or complaint (RFC 5965) about a letter of this engine's."""
    from retry_engine.adapters import bounce_reports
    from retry_engine.recovery.messaging import suppression

    suppression.check_account(account or "")
    report = bounce_reports.read(_mail(file, most=bounce_reports.LARGEST + 1))
    with _engine() as engine:
        found = engine.suppressions.heed(report, account=account)
    _show(found, as_json, lambda f: _rendering().show_heeded(f))


@messages.command("suppressed")
def show_suppressed(
    address: Annotated[
        str | None, typer.Argument(metavar="[ADDRESS]", help="What was said about that one.")
    ] = None,
    account: Account = "",
    as_json: Json = False,
) -> None:
    """How many addresses are not written to, by reason; or what was said about one."""
    with _engine() as engine:
        if address is None:
            counts = engine.suppressions.counts()
            _show(counts, as_json, lambda f: print("\n".join(f"{n:>7}  {w}" for w, n in f.items())))
            return
        acts = engine.suppressions.history(address, account=account)
    _show(acts, as_json, lambda found: _rendering().show_suppression(found))


@model.command("train")
def train_model(
    seed: Annotated[int, typer.Option(help="The same log and seed give the same model.")] = 0,
    promote: Annotated[bool, typer.Option(help="Let it decide at once.")] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Fit a model on the attempt log, store it, and show its card."""
    with _engine() as engine:
        card = engine.learning.train(seed=seed, promote=promote, on_progress=_say)
        if plot is not None:
            engine.learning.write_plot(card["version"], plot)
    _show(card, as_json, lambda c: _rendering().show_card(c))
    if card.get("not_promoted"):
        raise Refused(card["not_promoted"])


@model.command("list")
def list_models(as_json: Json = False) -> None:
    """Stored models, newest first."""
    with _engine() as engine:
        found = engine.learning.list_models()
    _show(found, as_json, lambda rows: _rendering().show_models(rows))


@model.command("show")
def show_model(version: Version = None, plot: Plot = None, as_json: Json = False) -> None:
    """A model's card; without a version the active one's."""
    with _engine() as engine:
        card = engine.learning.show(version)
        if plot is not None:
            engine.learning.write_plot(version, plot)
    _show(card, as_json, lambda c: _rendering().show_card(c))


@model.command("promote")
def promote_model(
    version: Annotated[str, typer.Argument(metavar="V")], as_json: Json = False
) -> None:
    """Let a stored model decide; workers take it up within seconds."""
    with _engine() as engine:
        found = engine.learning.promote(version)
    _show(found, as_json, lambda f: print(f"{f['active']} decides from now on."))


@model.command("rollback")
def rollback_model(as_json: Json = False) -> None:
    """Back to the model that decided before, or to the documented prior."""
    with _engine() as engine:
        found = engine.learning.rollback()
    _show(found, as_json, lambda f: print(f"{f['active'] or 'the prior'} decides from now on."))


@model.command("evaluate")
def evaluate_model(version: Version = None, as_json: Json = False) -> None:
    """Judge a stored model on the cases that came after its training."""
    with _engine() as engine:
        found = engine.learning.evaluate(version, on_progress=_say)
    _show(found, as_json, lambda c: _rendering().show_card(c))


@model.command("drift")
def show_drift(
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Else the log's last 30 days.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the last days with what the active model was trained on."""
    begin = _since(since) if since is not None else None
    with _engine() as engine:
        found = engine.learning.drift(since=begin)
    _show(found, as_json, lambda f: _rendering().show_drift(f))


# -- parts


def _override(
    case: str,
    action: str,
    reason: str,
    by: str | None,
    as_json: bool,
    *,
    at: datetime | None = None,
    payment_method: str | None = None,
) -> None:
    with _engine() as engine:
        found = engine.operations.override(
            case,
            action=action,
            reason=reason,
            by=_who(by),
            at=at,
            payment_method=payment_method,
            progress=_waits,
        )
    for warning in found["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    _show(found, as_json, lambda whole: _rendering().show_after_override(action, whole))


def _decide(review: str, verdict: str, reason: str, by: str | None, as_json: bool) -> None:
    with _engine() as engine:
        found = engine.operations.decide_review(review, verdict=verdict, reason=reason, by=_who(by))
    _show(found, as_json, lambda one: print(f"Review {one['id']} is {one['state']}."))


def _switch(action: str, reason: str, by: str | None, as_json: bool) -> None:
    with _engine() as engine:
        found = engine.operations.set_engine(
            action=action, reason=reason, by=_who(by), progress=_waits
        )
    word = "paused: no money moves" if found["paused"] else "running"
    _show(found, as_json, lambda _: print(f"The engine is {word}."))


def _waits(for_what: Sequence[str]) -> None:
    """The brake is pulled already, and stays so if this command is broken off."""
    _say("Nothing more is charged from now on. Waiting for what had left before:")
    for text in for_what:
        _say(f"  {text}")


def _who(by: str | None) -> str:
    try:
        return by or getpass.getuser()
    except (OSError, KeyError):
        return "cli"


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadRequest(
            f"--at is {text!r}; expected RFC 3339 with a zone, such as 2026-03-01T09:00:00Z"
        )
    return at


def _mail(file: str, *, most: int) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read(most)
        with Path(file).open("rb") as mail:
            return mail.read(most)
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from None


def _since(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None and at.tzinfo is None and len(text) == len("2026-01-31"):
        return at.replace(tzinfo=UTC)
    if at is None or at.tzinfo is None:
        raise BadRequest(
            f"--since is {text!r}; expected a day such as 2026-01-31, or RFC 3339 with a zone"
        )
    return at.astimezone(UTC)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _settings(*, stripe: bool = False, webhooks: bool = False) -> "Settings":
    from retry_engine import settings

    found = settings.from_process()
    if (stripe or webhooks) and found.stripe_api_key is None:
        raise SettingsError(
            "STRIPE_API_KEY is not set; expected a secret (sk_…) or restricted key (rk_…)"
        )
    if webhooks and not found.stripe_webhook_secrets:
        raise SettingsError(
            "STRIPE_WEBHOOK_SECRET is not set; expected the endpoint's signing secret (whsec_…)"
        )
    return found


@contextmanager
def _servers(settings: "Settings") -> "Iterator[tuple[Settings, dict[str, str]]]":
    """Settings with both URLs, embedded servers where they are unset; and what children need."""
    if settings.database_url and settings.redis_url:
        yield settings, {}
        return
    from retry_engine.adapters.embedded import EmbeddedServers

    with EmbeddedServers(settings.home) as servers:
        urls = {
            "DATABASE_URL": settings.database_url or servers.database_url,
            "REDIS_URL": settings.redis_url or servers.redis_url,
        }
        changed = {"database_url": urls["DATABASE_URL"], "redis_url": urls["REDIS_URL"]}
        yield settings.model_copy(update=changed), urls


@contextmanager
def _engine(*, stripe: bool = False) -> "Iterator[Engine]":
    from retry_engine import bootstrap, telemetry

    with ExitStack() as stack:
        settings, environment = stack.enter_context(_servers(_settings(stripe=stripe)))
        telemetry.configure("cli", log_format=settings.log_format)
        if environment:
            _migrated(settings)
        yield stack.enter_context(bootstrap.build(settings))


def _migrated(settings: "Settings") -> None:
    from retry_engine import bootstrap

    with bootstrap.build(settings) as engine:
        engine.migrate()


def _command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "retry_engine.entrypoints.cli", name, *arguments]


def _port(given: int | None) -> int:
    if given is not None:
        return given
    text = os.environ.get("PORT", str(_DEFAULT_PORT))
    if not text.isdigit() or int(text) > 65535:
        raise SettingsError(f"PORT is {text!r}; expected 0 to 65535")
    return int(text)


def _host(given: str | None) -> str:
    # platforms that set PORT reach the process from outside
    return given or ("0.0.0.0" if "PORT" in os.environ else "127.0.0.1")  # noqa: S104


def _show(found: Any, as_json: bool, draw: Callable[[Any], None]) -> None:
    _print_json(found) if as_json else draw(found)


def _print_json(found: Any) -> None:
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _rendering() -> Any:
    from retry_engine.entrypoints import rendering

    return rendering


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code: 0 done, 1 failed or refused, 2 bad usage."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as wanted:
        return wanted.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # noqa: BLE001  # the last net: one line, not a traceback
        return _complain(error)
    return code if isinstance(code, int) else 0


def _complain(error: Exception) -> int:
    """One line on stderr; the exit code says whose fault it is."""
    if isinstance(error, TyperException):  # bad usage, which typer explains itself
        show: Callable[[], None] | None = getattr(error, "show", None)
        show() if show else sys.stderr.write(f"retry-engine: {error}\n")
        return 2
    if not isinstance(error, RetryEngineError):
        if os.environ.get("RETRY_ENGINE_DEBUG"):
            raise error
        error = RetryEngineError(f"{type(error).__name__}: {error}")
    from retry_engine.telemetry import clean_text

    detail = getattr(error, "detail", "")
    text = " ".join(clean_text(f"{error}: {detail}" if detail else str(error)).split())
    sys.stderr.write(f"retry-engine: {text}\n")
    return 2 if isinstance(error, (SettingsError, BadRequest)) else 1


if __name__ == "__main__":
    main()
