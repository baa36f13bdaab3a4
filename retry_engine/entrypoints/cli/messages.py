"""`messages`: what customers are written, and who is not."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from retry_engine.domain.errors import BadRequest
from retry_engine.entrypoints.cli.options import Account, By, Json, Reason, who
from retry_engine.entrypoints.cli.output import show
from retry_engine.entrypoints.cli.session import open_engine

group = typer.Typer(no_args_is_help=True, help="What customers are written.")


@group.command("preview")
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
    with open_engine() as engine:
        engine.customers.preview_message(file, kind=kind, language=language, discount=discount)
    print(f"{file} and {file.with_suffix('.txt')} are written.")


@group.command("suppress")
def suppress_address(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="name@example.com")],
    reason: Annotated[str, typer.Option(help="bounced, complained or unsubscribed.")],
    note: Annotated[str | None, typer.Option(help="How that is known; kept with it.")] = None,
    by: By = None,
    account: Account = "",
    as_json: Json = False,
) -> None:
    """Never write to an address again; only a keyed hash of it is kept."""
    from retry_engine.app import suppressions

    suppressions.checked(address, reason, account)  # before anything is started for it
    with open_engine() as engine:
        found = engine.suppressions.suppress(
            address, reason=reason, by=who(by), account=account, note=note
        )
    show(found, as_json, lambda _: print("This address is not written to again."))


@group.command("unsuppress")
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
    from retry_engine.app import suppressions

    suppressions.checked_address(address, account)
    with open_engine() as engine:
        found = engine.suppressions.lift(
            address,
            reason=reason,
            by=who(by),
            account=account,
            against_their_wish=against_their_wish,
        )
    show(found, as_json, lambda _: print("This address may be written to again."))


@group.command("bounce")
def heed_bounce(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A mail; - for standard input.")],
    account: Annotated[
        str | None, typer.Option(help="Only where the letter is of that account (acct_…).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take a bounce (RFC 3464) or complaint (RFC 5965) about a letter of this engine's."""
    from retry_engine.adapters import bounce_reports
    from retry_engine.app import suppressions

    suppressions.check_account(account or "")
    report = bounce_reports.read(_mail(file, most=bounce_reports.LARGEST + 1))
    with open_engine() as engine:
        found = engine.suppressions.heed(report, account=account)
    show(found, as_json, lambda f: _rendering().show_heeded(f))


@group.command("suppressed")
def show_suppressed(
    address: Annotated[
        str | None, typer.Argument(metavar="[ADDRESS]", help="What was said about that one.")
    ] = None,
    account: Account = "",
    as_json: Json = False,
) -> None:
    """How many addresses are not written to, by reason; or what was said about one."""
    with open_engine() as engine:
        if address is None:
            counts = engine.suppressions.counts()
            show(counts, as_json, lambda f: print("\n".join(f"{n:>7}  {w}" for w, n in f.items())))
            return
        acts = engine.suppressions.history(address, account=account)
    show(acts, as_json, lambda found: _rendering().show_suppression(found))


def _mail(file: str, *, most: int) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read(most)
        with Path(file).open("rb") as mail:
            return mail.read(most)
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from None


def _rendering() -> Any:
    from retry_engine.entrypoints.rendering import messages

    return messages
