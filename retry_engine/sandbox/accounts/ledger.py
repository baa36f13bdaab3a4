"""The ledger: who tried to take money, and what came of it."""

from dataclasses import asdict, dataclass

from retry_engine.sandbox.objects import Obj


@dataclass(slots=True, kw_only=True)
class Try:
    """One attempt to take money, for the audit. `source`: stripe, api or customer."""

    invoice: str | None  # None: for something else
    customer: str | None
    payment_method: str
    fingerprint: str | None
    at: int
    amount: int
    currency: str
    outcome: str
    decline_code: str | None
    source: str
    charge: str
    idempotency_key: str | None
    settled_at: int | None = None

    def as_json(self) -> Obj:
        """The entry as `/_sandbox/ledger` shows it."""
        return asdict(self)
