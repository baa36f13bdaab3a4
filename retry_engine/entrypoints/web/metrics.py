"""`/metrics`: read from the record, so that it is true for all processes at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from retry_engine.bootstrap import Engine

# Counts over all that ever was are taken no more often than this, however many scrape.
_KEPT_SECONDS = 300.0


class Figures:
    """The page. What waits is counted at each scrape, what ever was at most every five minutes."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._guard = Lock()
        self._totals: _Totals | None = None

    def page(
        self,
        webhook_answers: Mapping[int, int],
        refused: Mapping[str, int],
        broken_off: Mapping[str, int],
    ) -> bytes:
        """Prometheus text."""
        totals = self._kept()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            _Page(
                status=self._engine.health.status(),
                living=self._engine.health.living(),
                totals=totals,
                age=self._clock() - totals.taken_at,
                answers=dict(webhook_answers),
                refused=dict(refused),
                broken_off=dict(broken_off),
            )
        )
        return generate_latest(registry)

    def _kept(self) -> "_Totals":
        with self._guard:  # one counts, the others wait for its result
            kept = self._totals
            if kept is None or self._clock() - kept.taken_at > _KEPT_SECONDS:
                kept = _Totals(self._engine.health.totals(), self._clock())
                self._totals = kept
            return kept


@dataclass(frozen=True, slots=True)
class _Totals:
    counts: dict[str, Any]
    taken_at: float


class _Page(Collector):
    def __init__(
        self,
        *,
        status: dict[str, Any],
        living: dict[str, Any],
        totals: _Totals,
        age: float,
        answers: dict[int, int],
        refused: dict[str, int],
        broken_off: dict[str, int],
    ) -> None:
        self._status = status
        self._living = living
        self._counts = totals.counts
        self._age = age
        self._answers = answers
        self._refused = refused
        self._broken_off = broken_off

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        for name, text in (
            ("inbox_pending", "Events stored and not handled yet"),
            ("actions_due", "Actions due now, by each case's clock"),
            ("actions_in_flight", "Actions being carried out"),
            ("actions_planned", "Actions planned for later"),
        ):
            yield GaugeMetricFamily(f"retry_engine_{name}", text, value=self._status[name])
        paused = float(self._status["paused"])
        yield GaugeMetricFamily("retry_engine_paused", "1 while no money moves", value=paused)
        dead = self._status["events_dead"]
        yield GaugeMetricFamily("retry_engine_inbox_dead", "Events given up", value=dead)
        waiting = self._living["reviews_open"]
        yield GaugeMetricFamily("retry_engine_reviews_open", "Reviews waiting", value=waiting)
        late = self._living["reviews_overdue"]
        yield GaugeMetricFamily(
            "retry_engine_reviews_overdue", "Reviews beyond their deadline", value=late
        )
        told = self._living["outbound"]
        out = GaugeMetricFamily(
            "retry_engine_outbound_events",
            "Events that the host application has not taken",
            labels=["state"],
        )
        out.add_metric(["pending"], told.pending)
        out.add_metric(["dead"], told.dead)
        yield out
        yield CounterMetricFamily(
            "retry_engine_outbound_events_delivered",
            "Events that the host application has taken",
            value=told.delivered,
        )
        unknown = self._status["outcomes_given_up"]
        yield GaugeMetricFamily(
            "retry_engine_outcomes_given_up",
            "Cases with a charge of which nobody can tell what came of it",
            value=unknown,
        )
        held = GaugeMetricFamily(
            "retry_engine_invoices_held",
            "Invoices that Stripe does not retry because of the engine",
            labels=["how"],
        )
        for how, count in self._counts["held"].items():
            held.add_metric([how], count)
        yield held
        cases = GaugeMetricFamily("retry_engine_cases", "Living cases", labels=["state"])
        for state, count in self._living["cases"].items():
            cases.add_metric([state], count)
        yield cases
        attempts = CounterMetricFamily(
            "retry_engine_attempts", "Attempts on cases", labels=["source", "outcome"]
        )
        for source, outcome, count in self._counts["attempts"]:
            attempts.add_metric([source, outcome], count)
        yield attempts
        said = CounterMetricFamily(
            "retry_engine_messages", "Messages to customers", labels=["kind", "state"]
        )
        for kind, state, count in self._counts["messages"]:
            said.add_metric([kind, state], count)
        yield said
        made = GaugeMetricFamily(
            "retry_engine_offers", "Offers to customers", labels=["state", "currency"]
        )
        worth = GaugeMetricFamily(
            "retry_engine_offers_amount",
            "Their discounts, minor units",
            labels=["state", "currency"],
        )
        for state, currency, count, total in self._counts["offers"]:
            made.add_metric([state, currency], count)
            worth.add_metric([state, currency], total)
        yield made
        yield worth
        broken = GaugeMetricFamily(
            "retry_engine_invariant_breaches", "Truths that do not hold", labels=["truth"]
        )
        for truth, count in self._counts["breaches"].items():
            broken.add_metric([truth], count)
        yield broken
        answers = CounterMetricFamily(
            "retry_engine_webhook_answers", "Webhook answers of this process", labels=["status"]
        )
        for status, count in self._answers.items():
            answers.add_metric([str(status)], count)
        yield answers
        wrong = CounterMetricFamily(
            "retry_engine_wrong_credentials", "Wrong tokens given to this process", labels=["door"]
        )
        for door, count in self._refused.items():
            wrong.add_metric([door], count)
        yield wrong
        ended = CounterMetricFamily(
            "retry_engine_connections_broken_off",
            "Unfinished requests that this process ended",
            labels=["reason"],
        )
        for why, count in self._broken_off.items():
            ended.add_metric([why], count)
        yield ended
        yield GaugeMetricFamily(
            "retry_engine_totals_age_seconds",
            "How old the counts of attempts, messages, offers, breaches and held invoices are",
            value=self._age,
        )
