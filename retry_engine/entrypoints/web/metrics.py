"""`/metrics`: read from the record at each scrape, so that it is true for all processes at once."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from retry_engine.wiring import Engine


def render(engine: Engine, webhook_answers: dict[int, int]) -> bytes:
    """The page as Prometheus text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Figures(engine.status(), engine.counts(), engine.invariants(), webhook_answers)
    )
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(
        self,
        status: dict[str, Any],
        counts: dict[str, Any],
        invariants: dict[str, int],
        webhook_answers: dict[int, int],
    ) -> None:
        self._status = status
        self._counts = counts
        self._invariants = invariants
        self._answers = webhook_answers

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
        dead = self._counts["inbox"]["dead"]
        yield GaugeMetricFamily("retry_engine_inbox_dead", "Events given up", value=dead)
        waiting = self._counts["reviews_open"]
        yield GaugeMetricFamily("retry_engine_reviews_open", "Reviews waiting", value=waiting)
        cases = GaugeMetricFamily("retry_engine_cases", "Living cases", labels=["state"])
        for state, count in self._counts["cases"].items():
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
        for truth, count in self._invariants.items():
            broken.add_metric([truth], count)
        yield broken
        answers = CounterMetricFamily(
            "retry_engine_webhook_answers", "Webhook answers of this process", labels=["status"]
        )
        for status, count in self._answers.items():
            answers.add_metric([str(status)], count)
        yield answers
