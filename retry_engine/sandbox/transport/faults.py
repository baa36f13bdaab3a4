"""Everything that goes wrong on the way to Stripe and back, on demand.

`POST /_sandbox/faults` takes (all optional; a new document replaces the old one):

    {"api": [{"fault": "rate_limit", "probability": 0.1, "on": "POST /v1/invoices/*/pay"},
             {"fault": "drop_after", "times": 2, "skip": 1}],
     "webhooks": {"duplicate": 0.2, "reorder": 0.5, "delay": 0.3, "drop_first": 0.2},
     "event_api_version": "2024-06-20",
     "forbidden": ["webhook_endpoints", "invoices:write"]}

A fault without `probability` is deterministic: it hits the next `times` (1) matching requests
after `skip` (0) of them. `api` faults: `rate_limit` and `lock_timeout` (429), `conflict` (409),
`error_before` and `error_after` (500; after = it was carried out), `drop_before` and
`drop_after` (the connection breaks), `latency` (`seconds` while the object is locked), `ignored`
(200 with the object as it was: nothing is done, e.g. a `pay` that leaves its invoice open).
`webhooks`: shares of deliveries that are sent twice, held back by up to 2 s so that later ones
overtake, or refused the first time; `delay` holds all back by so many seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random

from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj

KINDS = (
    "rate_limit", "lock_timeout", "conflict", "error_before", "error_after", "drop_before",
    "drop_after", "latency", "ignored",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Fault:
    """One way an API call goes wrong."""

    fault: str
    on: str = "*"
    probability: float | None = None
    times: int = 1
    skip: int = 0
    seconds: float = 1.0

    def hits(self, call: str, rng: Random) -> bool:
        """Whether it befalls this call; deterministic ones are used up."""
        if not fnmatchcase(call, self.on):
            return False
        if self.probability is not None:
            return rng.uniform(0, 1) < self.probability
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times <= 0:
            return False
        self.times -= 1
        return True


@dataclass(slots=True, kw_only=True)
class OnTheWay:
    """What happens to webhooks."""

    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    drop_first: float = 0.0


@dataclass(slots=True)
class Faults:
    """The faults now in force."""

    rng: Random
    api: list[Fault] = field(default_factory=list)
    webhooks: OnTheWay = field(default_factory=OnTheWay)
    event_api_version: str | None = None
    forbidden: Sequence[str] = ()

    def replace(self, document: object) -> None:
        """Put the faults of a control request in force."""
        if not isinstance(document, dict):
            raise invalid("faults: an object is expected")
        known = {"api", "webhooks", "event_api_version", "forbidden"}
        if set(document) - known:
            raise invalid(f"faults: unknown {sorted(set(document) - known)}, known {sorted(known)}")
        try:
            api = [Fault(**entry) for entry in document.get("api", ())]
            webhooks = OnTheWay(**document.get("webhooks", {}))
        except TypeError as error:
            raise invalid(f"faults: {error}") from None
        for fault in api:
            if fault.fault not in KINDS:
                raise invalid(f"faults: unknown fault {fault.fault!r}, known: {', '.join(KINDS)}")
        self.api, self.webhooks = api, webhooks
        self.event_api_version = document.get("event_api_version")
        self.forbidden = tuple(document.get("forbidden", ()))

    def strike(self, call: str) -> dict[str, Fault]:
        """The faults that befall this call, by name."""
        return {fault.fault: fault for fault in self.api if fault.hits(call, self.rng)}

    def forbids(self, method: str, resource: str) -> bool:
        """Whether the key may not do this."""
        right = "read" if method == "GET" else "write"
        return resource in self.forbidden or f"{resource}:{right}" in self.forbidden

    def as_json(self) -> Obj:
        """What is in force."""
        return {
            "api": [{name: getattr(fault, name) for name in Fault.__slots__} for fault in self.api],
            "webhooks": {name: getattr(self.webhooks, name) for name in OnTheWay.__slots__},
            "event_api_version": self.event_api_version,
            "forbidden": list(self.forbidden),
        }
