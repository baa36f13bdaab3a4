"""What the demo tells at its end: the engine against a fixed schedule on the same population."""

from collections.abc import Mapping
from typing import Any

from babel.numbers import format_percent
from rich.console import Console
from rich.table import Table

from retry_engine.domain.money import plain

Figures = Mapping[str, Any]


def build(
    *, engine: Figures, baseline: Figures, invoices: int, days: int, seed: int, seconds: float
) -> dict[str, Any]:
    """The report as one JSON document."""
    return {
        "invoices": invoices,
        "days": days,
        "seed": seed,
        "seconds": round(seconds, 1),
        "engine": dict(engine),
        "fixed_schedule": dict(baseline),
        "recovered_share": {"engine": engine["share"], "fixed_schedule": baseline["share"]},
        "attempts": {"engine": engine["attempts"], "fixed_schedule": baseline["attempts"]},
    }


def show(report: Figures, console: Console) -> None:
    """The report for a person."""
    engine, fixed = report["engine"], report["fixed_schedule"]
    console.print()
    console.rule("[bold]Same customers, same banks, same days")
    console.print(_totals(engine, fixed))
    console.print(_money(engine, fixed))
    console.print(_by_code(engine, fixed))
    console.print(_by_attempt(engine, fixed))
    if "people" in engine:
        console.print(_people(engine["people"]))
    paid = engine["by_source"]
    console.print(
        f"Of the engine's side {paid.get('api', 0)} were paid by its own charges and "
        f"{paid.get('customer', 0)} by customers on their own; "
        f"{report['seconds']:.0f} s in all.\n"
        "A simulated population shows that the machinery works, not what your customers will do.",
        style="bright_black",
    )
    console.print()
    console.print("[bold]Next, with your own Stripe test account:[/bold]")
    console.print(
        "  1. export STRIPE_API_KEY=sk_test_… STRIPE_WEBHOOK_SECRET=whsec_…\n"
        "  2. retry-engine up              (stripe listen --forward-to "
        "localhost:8000/webhooks/stripe)\n"
        "  3. retry-engine doctor          (says what is missing, and how to mend it)\n"
        "With a live key it starts in shadow: it watches and records, and writes nothing to Stripe."
    )


def _totals(engine: Figures, fixed: Figures) -> Table:
    table = _table("", "retry-engine", "+3/+5/+7 days")
    table.add_row("failed renewals", str(engine["failed"]), str(fixed["failed"]))
    table.add_row("recovered", str(engine["recovered"]), str(fixed["recovered"]))
    table.add_row("share", _share(engine["share"]), _share(fixed["share"]), style="bold")
    table.add_row("further attempts", str(engine["attempts"]), str(fixed["attempts"]))
    per_case = [
        f"{f['attempts'] / f['failed']:.2f}" if f["failed"] else "–" for f in (engine, fixed)
    ]
    table.add_row("attempts a case", *per_case)
    return table


def _money(engine: Figures, fixed: Figures) -> Table:
    table = _table("recovered money", "retry-engine", "+3/+5/+7 days", "of")
    for currency in sorted(engine["money_failed"]):
        table.add_row(
            currency.upper(),
            plain(engine["money_recovered"].get(currency, 0), currency),
            plain(fixed["money_recovered"].get(currency, 0), currency),
            plain(engine["money_failed"][currency], currency),
        )
    return table


def _people(totals: Figures) -> str:
    deeds, credited = totals["deeds"], totals["credited"]
    given = ", ".join(plain(credited[c], c) for c in sorted(credited)) or "nothing"
    return (
        f"Customers got {deeds.get('gets_mail', 0)} mails, read {deeds.get('reads_mail', 0)} and "
        f"followed {deeds.get('opens_link', 0)} links; {deeds.get('takes_offer', 0)} took an "
        f"offer. Discounts on what was paid: {given}. {totals['churned']} left."
    )


def _by_code(engine: Figures, fixed: Figures) -> Table:
    table = _table("first decline", "retry-engine", "+3/+5/+7 days", "failed")
    codes = engine["by_decline_code"]
    for code, figures in sorted(codes.items(), key=lambda item: -item[1]["failed"]):
        other = fixed["by_decline_code"].get(code, {"recovered": 0, "failed": 0})
        table.add_row(
            code,
            _part(figures["recovered"], figures["failed"]),
            _part(other["recovered"], other["failed"]),
            str(figures["failed"]),
        )
    return table


def _by_attempt(engine: Figures, fixed: Figures) -> Table:
    table = _table("recovered on further attempt", "retry-engine", "+3/+5/+7 days")
    numbers = sorted({*engine["by_attempt"], *fixed["by_attempt"]}, key=int)
    for number in numbers:
        ours, theirs = engine["by_attempt"].get(number, 0), fixed["by_attempt"].get(number, 0)
        table.add_row(f"#{number}", str(ours), str(theirs))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", min_width=14)
    table.add_row()
    return table


def _share(share: float) -> str:
    return str(format_percent(share, format="#,##0.0%", locale="en"))


def _part(recovered: int, failed: int) -> str:
    return f"{recovered} ({recovered / failed:.0%})" if failed else "–"
