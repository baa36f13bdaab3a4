"""Models, their cards, and how they drift."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retry_engine.entrypoints.rendering.terminal import (
    Document,
    console_of_stdout,
    print_whole,
    styled,
    when,
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
            styled(row["state"], "ok" if row["state"] == "active" else "paused"),
            row["trained_at"][:16],
            *(str(row[name]) for name in ("retries_used", "concordance", "brier")),
        )
    print_whole(console_of_stdout(), table)


def show_card(card: Document) -> None:
    """A model card: what it was made from, how it was judged, what it is worth, what moves it."""
    console = console_of_stdout()
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
    console = console_of_stdout()
    console.print(
        Text(
            f"{found['version']}: {found['retries']} retries from {when(found['since'])} to "
            f"{when(found['to'])}, {found['retries_of_training_among_them']} of them from its "
            "training time"
        )
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, part in found["parts"].items():
        detail = Text(part["detail"])
        detail.append(f"\n{found['thresholds'][name]}", style="bright_black")
        table.add_row(styled(part["verdict"]), Text(name, style="bold"), detail)
    table.add_row(styled(found["verdict"]), Text("all", style="bold"), "")
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
