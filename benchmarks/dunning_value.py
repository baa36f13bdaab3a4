"""What speaking to customers is worth, and what discounts are: the demo in three arms.

    python benchmarks/dunning_value.py --seeds 10 --first-seed 11 --invoices 300

The same customers, banks and days each time: retries alone, with messages, with offers too. Net
value is the money that came (after discounts) less what attempts and messages cost, as a share of
what was owed; currencies are added up at fixed rates. The real processes run, so two runs of one
seed differ by a payment or two. What an offer does is less than that, so it is also told by the
customers' own truth, which only the sandbox knows: what was paid by people who pay only for a
discount, less what was given to people who would have paid when asked.
"""

import argparse
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_ARMS = ("none", "messages", "offers")
_ATTEMPT, _MESSAGE = 10, 5
# What a minor unit is worth in US cents, roughly; only the weights of currencies hang on it.
_RATES = {"usd": 1.0, "eur": 1.1, "gbp": 1.3, "cad": 0.73, "aud": 0.66, "brl": 0.18, "jpy": 0.67,
          "inr": 0.012, "mxn": 0.055, "sek": 0.095, "chf": 1.15, "pln": 0.25}  # fmt: skip


def play(seed: int, arm: str, invoices: int) -> dict[str, Any]:
    """One run of the demo."""
    options = [] if arm == "none" else [f"--{arm}"]
    command = [sys.executable, "-m", "retry_engine.entrypoints.cli", "demo", "--json",
               "--invoices", str(invoices), "--seed", str(seed), *options]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)["engine"]
    return found


def net_share(figures: dict[str, Any]) -> float:
    """Net value as a share of what was owed."""
    came, owed = (
        sum(_RATES[c] * amount for c, amount in figures[key].items())
        for key in ("money_recovered", "money_failed")
    )
    mails = figures.get("people", {}).get("deeds", {}).get("gets_mail", 0)
    return float((came - _ATTEMPT * figures["attempts"] - _MESSAGE * mails) / owed)


def moved_share(figures: dict[str, Any]) -> float:
    """What offers brought less what they wasted, by the people's truth, as a share of the owed."""
    told = figures.get("people", {})
    sums = {
        key: sum(_RATES[c] * amount for c, amount in told.get(key, {}).items())
        for key in ("moved", "wasted")
    }
    owed = sum(_RATES[c] * amount for c, amount in figures["money_failed"].items())
    return float((sums["moved"] - sums["wasted"]) / owed)


def main() -> None:
    """A row a seed, then the means and the paired differences with their standard errors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--invoices", type=int, default=120)
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    wanted = [(seed, arm) for seed in seeds for arm in _ARMS]
    with ThreadPoolExecutor(given.at_once) as pool:
        runs = pool.map(lambda job: play(job[0], job[1], given.invoices), wanted)
        shares: dict[str, list[float]] = {arm: [] for arm in _ARMS}
        moved: list[float] = []
        for (seed, arm), figures in zip(wanted, runs, strict=True):
            shares[arm].append(net_share(figures))
            if arm == "offers":
                moved.append(moved_share(figures))
            told = figures.get("people", {"deeds": {}, "credited": {}, "churned": "-"})
            print(
                f"seed {seed:3} {arm:8} net {shares[arm][-1]:6.1%}"
                f"  recovered {figures['recovered']}/{figures['failed']}"
                f"  attempts {figures['attempts']}  mails {told['deeds'].get('gets_mail', 0)}"
                f"  offers taken {told['deeds'].get('takes_offer', 0)}"
                f"  credited {told['credited']}  left {told['churned']}"
                + (f"  moved less wasted {moved[-1]:+.2%}" if arm == "offers" else ""),
                flush=True,
            )
    print({arm: f"{statistics.fmean(found):.2%}" for arm, found in shares.items()})
    error = statistics.stdev(moved) / len(moved) ** 0.5 if len(moved) > 1 else float("nan")
    print(f"offers, moved less wasted: {statistics.fmean(moved):+.2%} +- {error:.2%}")
    for better, worse in (("messages", "none"), ("offers", "messages")):
        gaps = [a - b for a, b in zip(shares[better], shares[worse], strict=True)]
        error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
        print(
            f"{better} - {worse}: {statistics.fmean(gaps):+.2%} +- {error:.2%}, "
            f"above on {sum(g > 0 for g in gaps)} of {len(gaps)}"
        )


if __name__ == "__main__":
    main()
