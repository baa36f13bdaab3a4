"""Cases: a page, one life, one explanation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retry_engine.domain.money import plain
from retry_engine.entrypoints.rendering.terminal import (
    Document,
    console_of_stdout,
    print_whole,
    styled,
    when,
)

# Methods in words, by id.
Methods = Mapping[str, str]


def show_explanation(why: Document) -> None:
    """What was charged and why, what comes next and why, and why not at the moment asked about.

    In the customer's own time; the chances are drawn below, half a day a column.
    """
    console = console_of_stdout()
    zone = ZoneInfo(why["timezone"])
    methods = {curve["payment_method"]: curve["method"] for curve in why["curves"]}
    console.print(f"{why['case']} is {why['state']}. Times are the customer's ({zone.key}).")
    for text in (*_charged(why, methods, zone), *_comes(why, methods, zone)):
        console.print(Text(text))
    if "asked" in why:
        console.print()
        for text in _asked(why["asked"], methods, zone):
            console.print(Text(text))
        if why["model_version"] != why["deciding_model"]:
            decides, answers = why["deciding_model"], why["model_version"]
            console.print(f"  These chances are by {answers}; the workers decide by {decides}.")
    for curve in why["curves"]:
        console.print()
        name = f"{curve['method']} ({curve['payment_method']})"
        console.print(Text(f"{name}, chance now by {why['model_version']}"))
        _draw(console, curve, zone)


def _charged(why: Document, methods: Methods, zone: ZoneInfo) -> Iterator[str]:
    charge = why["last_charge"]
    if charge is None:
        yield "The engine has charged nothing yet."
        return
    code = f" ({charge['decline_code']})" if charge["decline_code"] else ""
    yield (
        f"Charged on {_local(charge['at'], zone)} on the {_method(charge, methods)}: "
        f"{charge['outcome']}{code}."
    )
    if charge["requested_by"]:
        yield f"  {charge['requested_by']} wanted it then."
    elif charge["decision"]:
        yield from _because(charge["decision"], zone)


def _comes(why: Document, methods: Methods, zone: ZoneInfo) -> Iterator[str]:
    decision, charge = why["decision"], why["last_charge"]
    if decision is None:
        yield "Nothing has been decided for this case."
        return
    if charge is not None and charge["decision"] == decision:
        yield "Nothing has been decided since."
        return
    if decision["kind"] == "retry":
        chance = f"{decision['success_probability']:.0%}"
        yield (
            f"Decided next: a charge on {_local(decision['retry_at'], zone)} on the "
            f"{_method(decision, methods)}, chance {chance}."
        )
    else:
        yield f"Decided next: {decision['kind'].replace('_', ' ')}."
    yield from _because(decision, zone)


def _because(decision: Document, zone: ZoneInfo) -> Iterator[str]:
    yield (
        f"  Decided on {_local(decision['at'], zone)} by {decision['model_version']}, "
        f"policy {decision['policy_version']}, because"
    )
    yield from _points(decision["explanation"])


def _points(reasons: Sequence[Document]) -> Iterator[str]:
    for reason in reasons:
        points = reason.get("points")
        amount = "" if points is None else f"{points:+5.0f} points  "
        yield f"  - {amount}{reason['text']}"


def _asked(asked: Document, methods: Methods, zone: ZoneInfo) -> Iterator[str]:
    on = f" on the {_method(asked, methods)}" if asked["payment_method"] else ""
    yield f"And {_local(asked['at'], zone)}{on}?"
    if asked["reason"]:
        yield f"  Not then: {asked['reason']}."
    if asked["overridable"]:
        yield "  A person may charge then all the same: cases retry --at"
    chance, difference = asked["success_probability"], asked["difference"]
    if chance is None:
        return
    against = "; no charge is planned to compare it with"
    if difference is not None:
        chosen = f"the {_local(asked['chosen']['at'], zone)} that is planned"
        against = f", as likely as {chosen}"
        if abs(difference) >= 0.5:
            than = "lower" if difference < 0 else "higher"
            against = f", {abs(difference):.0f} points {than} than {chosen}"
    yield f"  Its chance is {chance:.0%}{against}."
    yield from _points(asked["explanation"])


def _method(of: Document, methods: Methods) -> str:
    return methods.get(of["payment_method"]) or str(of["payment_method"])


def _local(at: str, zone: ZoneInfo) -> str:
    return f"{datetime.fromisoformat(at).astimezone(zone):%a %-d %b %Y %H:%M}"


def _draw(
    console: Console, curve: Document, zone: ZoneInfo, *, a_column: int = 4, height: int = 6
) -> None:
    chances, permitted = curve["success_probability"], curve["permitted"]
    columns = range(0, len(chances), a_column)
    tops = [max(chances[i : i + a_column]) for i in columns]
    free = [any(permitted[i : i + a_column]) for i in columns]
    for level in reversed(range(height)):
        line = "".join("█" if top * height > level + 0.5 else " " for top in tops)
        console.print(Text(f"{(level + 1) / height:4.0%} │{line}"))
    console.print(Text("     └" + "".join("─" if ok else "x" for ok in free)))
    if curve["at"]:
        first, last = (_local(curve["at"][place], zone) for place in (0, -1))
        console.print(Text(f"      {first} … {last}; x: forbidden"))


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
            styled(case["close_reason"] or case["state"], case["state"]),
            plain(case["amount_remaining"], case["currency"]),
            str(case["attempts_made"]),
            when(case["next_action"]["at"]) if case["next_action"] else "",
            when(case["opened_at"]),
        )
    console = console_of_stdout()
    if not page["data"]:
        console.print("No cases.")
        return
    print_whole(console, table)
    if page["has_more"]:
        console.print(f"More: --cursor {page['next_cursor']}", style="italic")


def show_case(case: Document) -> None:
    """One case: a head, then its life in order."""
    console = console_of_stdout()
    head = Text.assemble(
        (case["id"], "bold"),
        f"  {case['invoice']}  {case['customer']}  ",
        styled(case["state"]),
        f"  {plain(case['amount_remaining'], case['currency'])} owed",
    )
    if case["amount_recovered"]:
        came, owed = (
            plain(case[k], case["currency"]) for k in ("amount_recovered", "amount_at_open")
        )
        head.append(f"  {came} of {owed} recovered")
    if case["close_reason"]:
        head.append(f"  {case['close_reason']}", style="bold")
    console.print(head)
    clock = case["clock"]
    on = f"test clock {clock['test_clock']}" if clock["test_clock"] else "real time"
    console.print(
        f"mode {case['mode']}, {on}, now {when(clock['now'])} UTC, "
        f"policy {case['policy_version']}, worked on until {when(case['deadline_at'])}",
        style="bright_black",
    )
    console.print()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bright_black")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for moment in sorted(_moments(case), key=lambda m: m.at):
        table.add_row(when(moment.at), Text(moment.sign, style=moment.style), moment.text)
    console.print(table)
    planned = case["next_action"]
    if planned is not None:
        console.print()
        console.print(
            f"next: {planned['kind']} at {when(planned['at'])} UTC on {planned['payment_method']}",
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
        f"retry {when(decision['retry_at'])} on {decision['payment_method']}, "
        f"chance {chance:.0%}: {reasons}"
    )


def _reason(reason: Document) -> str:
    points = reason.get("points")
    return str(reason["text"]) + (f" ({points:+.0f} points)" if points is not None else "")


def show_after_override(action: str, case: Document) -> None:
    """What an override has led to."""
    planned = case["next_action"]
    then = f"; next: {planned['kind']} at {when(planned['at'])} UTC" if planned else ""
    print(f"{action.replace('_', ' ')}: case {case['id']} is {case['state']}{then}.")
