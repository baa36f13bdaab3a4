"""What a person sees in the terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from retry_engine.app.checks import Check
from retry_engine.domain.money import plain

if TYPE_CHECKING:
    from retry_engine.learning.backfill import Progress

Document = dict[str, Any]

_STATE_STYLE = {
    "open": "cyan",
    "processing": "blue",
    "needs_customer": "yellow",
    "in_review": "magenta",
    "paused": "bright_black",
    "closed": "green",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "watch": "yellow",
    "retrain": "bold red",
}


def show_checks(checks: Sequence[Check]) -> None:
    """The doctor's rows."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        detail = Text(check.detail)
        if check.mend and check.status != "ok":
            detail.append(f"\n→ {check.mend}", style="italic")
        table.add_row(_styled(check.status), Text(check.name, style="bold"), detail)
    _console().print(table)


def show_status(status: Document) -> None:
    """Status as a short table."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in status.items():
        shown = str(value)
        style = "bold red" if name == "paused" and value else ""
        table.add_row(Text(name.replace("_", " ")), Text(shown, style=style))
    _console().print(table)


def show_imported(found: Document) -> None:
    """What came out of importing files."""
    for file in found["files"]:
        known = file["rows"] - file["new"]
        print(f"{file['file']}: {file['rows']} rows, {file['new']} new, {known} known already")


def show_heeded(found: Document) -> None:
    """What came of a bounce or a complaint: a line for what was done, one for each left alone."""
    if found["suppressed"]:
        many = "address is" if found["suppressed"] == 1 else "addresses are"
        print(f"{found['suppressed']} {many} not written to again ({found['reason']}).")
    for why in found["spared"]:
        print(f"Left as it is: {why}.")


def show_suppression(acts: list[Document]) -> None:
    """Who said what about writing to an address, a line each."""
    for act in acts:
        what = f"not to be written to: {act['reason']}" if act["reason"] else "may be written to"
        note = f" ({act['note']})" if act["note"] else ""
        print(f"{act['at']}  {what}, said {act['by']}{note}")
    if not acts:
        print("Nothing was ever said about this address.")


@contextmanager
def backfill_progress() -> Iterator[Callable[["Progress"], None]]:
    """How far a backfill is, on stderr: a bar in a terminal, else a line each hundredth."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Bar(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda progress: bar.update(
            task, completed=progress.share, description=_backfill_line(progress)
        )


def _plain_lines() -> Callable[["Progress"], None]:
    told = -1

    def say(progress: "Progress") -> None:
        nonlocal told
        hundredth = int(progress.share * 100)
        if hundredth != told:
            told = hundredth
            print(f"{hundredth:3}% {_backfill_line(progress)}", file=sys.stderr, flush=True)

    return say


def _backfill_line(progress: "Progress") -> str:
    reached = f"back to {progress.reached:%Y-%m-%d}" if progress.reached else "beginning"
    return (
        f"{reached}: {progress.charges} charges read, {progress.invoices} failed invoices, "
        f"{progress.new} new rows"
    )


def show_backfill(found: Document) -> None:
    """What came out of a backfill."""
    print(
        f"{found['charges']} charges read since {found['since'][:10]}, {found['invoices']} failed "
        f"invoices: {found['new']} new rows, {found['changed']} read anew"
    )


def show_models(rows: Sequence[Document]) -> None:
    """Stored models, one a row."""
    if not rows:
        print("No model is stored: the documented prior decides. `retry-engine model train`")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("version", "state", "trained", "retries", "concordance", "Brier"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            row["version"],
            _styled(row["state"], "ok" if row["state"] == "active" else "paused"),
            row["trained_at"][:16],
            *(str(row[name]) for name in ("retries_used", "concordance", "brier")),
        )
    _console().print(table)


def show_card(card: Document) -> None:
    """A model card: what it was made from, how it was judged, what it is worth, what moves it."""
    console = _console()
    about = Table(box=None, pad_edge=False, show_header=False)
    for name, value in card.items():
        if name not in _JUDGED and not isinstance(value, list | dict):
            about.add_row(Text(name.replace("_", " ")), Text(str(value)))
    console.print(about)
    if card.get("ends_in_30_days"):
        console.print(Text(_ends(card["ends_in_30_days"])))
    if card.get("leaving"):
        console.print(Text(_leaving(card["leaving"])))
    _show_judged(console, card, "Calibration")
    if card.get("later"):
        _show_judged(console, card["later"], "Calibration on later cases")
    if card.get("backtest"):
        _show_backtest(console, card["backtest"])
    if card.get("top_features"):
        console.print(Text("\nWhat moves it: mean effect on the log hazard between two retries"))
    for row in card.get("top_features", ()):
        console.print(Text(f"{row['mean_effect']:6.3f}  {row['meaning']}"))
    for text in card.get("not_measured", ()):
        console.print(Text(f"not measured: {text}", style="italic"))


_JUDGED = ("concordance", "concordance_uno", "brier")


def _ends(ends: Document) -> str:
    return (
        f"of {ends['cases']} cases after {ends['days']} days: recovered {ends['recovered']:.1%}, "
        f"churned {ends['churned']:.1%}, otherwise ended {ends['other']:.1%} (competing risks)"
    )


def _leaving(found: Sequence[Document]) -> str:
    shares = ", ".join(f"{row['share_a_day']:.1%} from day {row['from_day']}" for row in found)
    left, days = (sum(row[name] for row in found) for name in ("left", "open_days"))
    return f"customers leave, share a day: {shares} ({left} left in {days} open days)"


def _show_judged(console: Console, part: Document, title: str) -> None:
    if not part.get("calibration"):
        return
    console.print(Text(f"\n{title}: {part['judged_on']}", style="bold"))
    told = [
        f"concordance {part['concordance']} (Harrell), {part['concordance_uno']} (Uno)",
        f"Brier {part['brier']}",
    ]
    whole = part.get("integrated_brier")
    if whole:
        told.append(
            f"integrated Brier {whole['value']} over days {whole['from_day']} to "
            f"{whole['to_day']} of {whole['cases']} cases (Kaplan-Meier {whole['reference']})"
        )
    console.print(Text(", ".join(told)))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("attempts", "promised", "came", "95 %", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in part["calibration"]:
        between = f"{row['low']:.1%} to {row['high']:.1%}" if "low" in row else ""
        bar = "█" * round(40 * row["came"])
        table.add_row(
            str(row["attempts"]), f"{row['promised']:.1%}", f"{row['came']:.1%}", between, bar
        )
    console.print(table)


def _show_backtest(console: Console, found: Document) -> None:
    money = ", ".join(found["currencies"])
    console.print(Text(f"\nBacktest, {found['kind']}: {found['judged_on']}", style="bold"))
    console.print(Text(f"decided by {found['decided_by']}; answered by {found['answered_by']}"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("policy", f"net a case ({money})", "95 %", "of what is owed", "recovered",
                    "attempts"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for name, row in found["policies"].items():
        table.add_row(
            name,
            f"{row['net_per_case']:.1f}",
            f"{row['low']:.1f} to {row['high']:.1f}",
            f"{row['share_of_what_is_owed']:.1%}",
            f"{row['recovered']:.1%}",
            f"{row['attempts']:.2f}",
        )
    for name, row in found["differences"].items():
        table.add_row(name, f"{row['net_per_case']:+.1f}", f"{row['low']:.1f} to {row['high']:.1f}")
    console.print(table)
    unit = found.get("unit", "minor units, currencies added as they are")  # as older cards are
    console.print(Text(unit, style="bright_black"))
    console.print(Text(f"known bias: {found['known_bias']}", style="italic"))


def show_drift(found: Document) -> None:
    """A verdict a part, then the features that have moved most."""
    console = _console()
    console.print(
        Text(
            f"{found['version']}: {found['retries']} retries from {_when(found['since'])} to "
            f"{_when(found['to'])}, {found['retries_of_training_among_them']} of them from its "
            "training time"
        )
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, part in found["parts"].items():
        detail = Text(part["detail"])
        detail.append(f"\n{found['thresholds'][name]}", style="bright_black")
        table.add_row(_styled(part["verdict"]), Text(name, style="bold"), detail)
    table.add_row(_styled(found["verdict"]), Text("all", style="bold"), "")
    console.print(table)
    moved = Table(title="Most moved", box=None, pad_edge=False, header_style="bold")
    for heading in ("feature", "index", "by chance", "in a usual month", "among the top"):
        moved.add_column(heading)
    for row in found["parts"]["features"]["features"][:8]:
        moved.add_row(
            row["feature"],
            f"{row['psi']:.3f}",
            f"{row['by_chance']:.3f}",
            f"{row['usual']:.3f}",
            "yes" if row["top"] else "",
        )
    console.print(moved)
    for row in found["parts"]["promises"].get("calibration", ()):
        console.print(
            Text(
                f"{row['attempts']:5} attempts  promised {row['promised']:.1%}  came "
                f"{row['came']:.1%} ({row['low']:.1%} to {row['high']:.1%})"
            )
        )


def show_explanation(why: Document) -> None:
    """The last decision in words, then each method's chance, half a day a column."""
    console = _console()
    decision = why["decision"]
    if decision is None:
        console.print("Nothing has been decided for this case.")
        return
    chance = decision["success_probability"]
    console.print(
        f"{_when(decision['at'])}  {decision['kind'].replace('_', ' ')}"
        + (f" on {decision['payment_method']}" if decision["payment_method"] else "")
        + (f" at {_when(decision['retry_at'])}" if decision["retry_at"] else "")
        + (f", chance {chance:.0%}" if chance is not None else "")
        + f"  ({decision['model_version']}, policy {decision['policy_version']})",
    )
    for reason in decision["explanation"]:
        points = reason.get("points")
        amount = "" if points is None else f"{points:+5.0f} points  "
        console.print(Text(f"  {amount}{reason['text']}"))
    for curve in why["curves"]:
        console.print()
        console.print(Text(f"{curve['payment_method']}, chance now by {why['model_version']}"))
        _draw(console, curve)


def _draw(console: Console, curve: Document, *, a_column: int = 4, height: int = 6) -> None:
    chances, permitted = curve["success_probability"], curve["permitted"]
    columns = range(0, len(chances), a_column)
    tops = [max(chances[i : i + a_column]) for i in columns]
    free = [any(permitted[i : i + a_column]) for i in columns]
    for level in reversed(range(height)):
        line = "".join("█" if top * height > level + 0.5 else " " for top in tops)
        console.print(Text(f"{(level + 1) / height:4.0%} │{line}"))
    console.print(Text("     └" + "".join("─" if ok else "x" for ok in free)))
    if curve["at"]:
        console.print(
            Text(f"      {_when(curve['at'][0])} … {_when(curve['at'][-1])}; x: forbidden")
        )


def show_cases(page: Document) -> None:
    """A page of cases."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("case", "invoice", "customer", "state", "owed", "tries", "next", "opened"):
        table.add_column(heading, justify="right" if heading in ("owed", "tries") else "left")
    for case in page["data"]:
        table.add_row(
            case["id"],
            case["invoice"],
            case["customer"],
            _styled(case["close_reason"] or case["state"], case["state"]),
            plain(case["amount_remaining"], case["currency"]),
            str(case["attempts_made"]),
            _when(case["next_action"]["at"]) if case["next_action"] else "",
            _when(case["opened_at"]),
        )
    console = _console()
    if not page["data"]:
        console.print("No cases.")
        return
    console.print(table)
    if page["has_more"]:
        console.print(f"More: --cursor {page['next_cursor']}", style="italic")


def show_case(case: Document) -> None:
    """One case: a head, then its life in order."""
    console = _console()
    head = Text.assemble(
        (case["id"], "bold"),
        f"  {case['invoice']}  {case['customer']}  ",
        _styled(case["state"]),
        f"  {plain(case['amount_remaining'], case['currency'])} owed",
    )
    if case["close_reason"]:
        head.append(f"  {case['close_reason']}", style="bold")
    console.print(head)
    clock = case["clock"]
    on = f"test clock {clock['test_clock']}" if clock["test_clock"] else "real time"
    console.print(
        f"mode {case['mode']}, {on}, now {_when(clock['now'])} UTC, "
        f"policy {case['policy_version']}, worked on until {_when(case['deadline_at'])}",
        style="bright_black",
    )
    console.print()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bright_black")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for moment in sorted(_moments(case), key=lambda m: m.at):
        table.add_row(_when(moment.at), Text(moment.sign, style=moment.style), moment.text)
    console.print(table)
    planned = case["next_action"]
    if planned is not None:
        console.print()
        console.print(
            f"next: {planned['kind']} at {_when(planned['at'])} UTC on {planned['payment_method']}",
            style="bold cyan",
        )


@dataclass(frozen=True, slots=True)
class _Moment:
    at: str
    sign: str
    style: str
    text: str


def _moments(case: Document) -> Iterator[_Moment]:
    for attempt in case["attempts"]:
        paid = attempt["outcome"] == "succeeded"
        codes = [attempt[k] for k in ("decline_code", "advice_code", "network_decline_code")]
        why = ", ".join(code for code in codes if code)
        yield _Moment(
            attempt["at"],
            "● paid" if paid else "○ charge",
            "bold green" if paid else "red",
            f"#{attempt['number']} by {attempt['source']} on {attempt['payment_method']}: "
            f"{attempt['outcome']}{f' ({why})' if why else ''}",
        )
    for decision in case["decisions"]:
        yield _Moment(decision["at"], "◆ decided", "cyan", _decision(decision))
    for message in case["messages"]:
        error = f" ({message['error']})" if message["error"] else ""
        text = f"{message['kind']} by {message['channel']}: {message['state']}{error}"
        yield _Moment(message["at"], "✉ message", "blue", text)
    for override in case["overrides"]:
        text = f"{override['by']}: {override['action']} ({override['reason']})"
        yield _Moment(override["at"], "■ person", "magenta", text)
    for transition in case["transitions"]:
        text = f"{transition['from'] or '–'} → {transition['to']}: {transition['cause']}"
        yield _Moment(transition["at"], "→ state", "bright_black", text)


def _decision(decision: Document) -> str:
    reasons = "; ".join(_reason(reason) for reason in decision["explanation"])
    if decision["kind"] != "retry":
        return f"{decision['kind'].replace('_', ' ')}: {reasons}"
    chance = decision["success_probability"]
    return (
        f"retry {_when(decision['retry_at'])} on {decision['payment_method']}, "
        f"chance {chance:.0%}: {reasons}"
    )


def _reason(reason: Document) -> str:
    points = reason.get("points")
    return str(reason["text"]) + (f" ({points:+.0f} points)" if points is not None else "")


def show_after_override(action: str, case: Document) -> None:
    """What an override has led to."""
    planned = case["next_action"]
    then = f"; next: {planned['kind']} at {_when(planned['at'])} UTC" if planned else ""
    print(f"{action.replace('_', ' ')}: case {case['id']} is {case['state']}{then}.")


def show_reviews(page: Document) -> None:
    """The review queue."""
    console = _console()
    if not page["data"]:
        console.print("Nothing waits for a person.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("review", "case", "amount", "until", "why", "proposed"):
        table.add_column(heading)
    for review in page["data"]:
        proposal = review["proposal"] or {}
        at = f" {_when(proposal['at'])}" if proposal.get("at") else ""
        table.add_row(
            review["id"],
            review["case"],
            plain(review["amount"], review["currency"]),
            _when(review["deadline_at"]) + (" (overdue)" if review["overdue"] else ""),
            review["reason"],
            f"{proposal.get('action', '')}{at}",
        )
    console.print(table)


def show_engine_log(log: Document) -> None:
    """Who turned the switch, newest first."""
    print("paused: no money moves" if log["paused"] else "running")
    for act in log["data"]:
        print(f"{_when(act['at'])}  {act['action']} by {act['by']}: {act['reason']}")


def show_dead(rows: Sequence[Document]) -> None:
    """Events that were given up."""
    console = _console()
    if not rows:
        console.print("No dead events.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("event", "type", "received", "tries", "error"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            row["event_id"],
            row["type"],
            _when(row["received_at"]),
            str(row["tries"]),
            row["last_error"] or "",
        )
    console.print(table)


def _when(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M}"


def _styled(text: str, state: str | None = None) -> Text:
    return Text(text, style=_STATE_STYLE.get(state or text, ""))


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 200
    return console
