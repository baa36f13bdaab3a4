"""The calibration plot of a model card, as a PNG."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]


def calibration(card: Document) -> bytes:
    """What was promised against what came, a panel for each set of retries the card was judged on.

    Deciles with 95 % intervals, the diagonal, and how many retries each decile holds. The drawing
    library is loaded here alone: no other process pays for it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # 0.5 s
    from matplotlib.figure import Figure  # noqa: PLC0415

    parts = [part for part in (card, card.get("later")) if part and part.get("calibration")]
    figure = Figure(figsize=(6.2 * len(parts), 6.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"Calibration of {card['version']}\n"
        f"retries from {str(card['from'])[:10]} to {str(card['to'])[:10]}",
        fontsize=13,
    )
    for place, part in enumerate(parts):
        _panel(figure.add_subplot(1, len(parts), place + 1), part)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": "retry-engine"})
    return out.getvalue()


def _panel(axes: Any, part: Document) -> None:
    rows: Sequence[Document] = part["calibration"]
    promised = [row["promised"] for row in rows]
    came = [row["came"] for row in rows]
    around = (
        [max(row["came"] - row["low"], 0.0) for row in rows],
        [max(row["high"] - row["came"], 0.0) for row in rows],
    )
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="as promised")
    axes.errorbar(
        promised, came, yerr=around, fmt="o-", color="#1f4e79", ecolor="#7fa6cc", capsize=3,
        linewidth=1.2, markersize=5, label="what came, with its 95 % interval",
    )  # fmt: skip
    for number, row in enumerate(rows):
        # counts alternate above and below, or neighbours would cover each other
        above = number % 2 == 1
        at = row["high"] if above else row["low"]
        axes.annotate(
            str(row["attempts"]), (row["promised"], at), xytext=(0, 5 if above else -5),
            textcoords="offset points", ha="center", va="bottom" if above else "top",
            fontsize=8, color="0.35",
        )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.06, 1.06), aspect="equal")
    axes.set_xlabel("chance promised (mean of the decile; numbers: retries in it)")
    axes.set_ylabel("share that succeeded")
    total = sum(row["attempts"] for row in rows)
    told = textwrap.fill(str(part["judged_on"]), 64)
    axes.set_title(f"{told}\n{total} retries, Brier {part['brier']:.4f}", fontsize=10)
    axes.grid(color="0.92")
    axes.legend(loc="upper left", fontsize=9, frameon=False)
