"""The banks behind the population's instruments.

Every answer is a function of the seed, the instrument and the time, not of who asked before or how
often: two policies that are played against the same world meet the same luck.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from retry_engine.sandbox.accounts.issuers import IssuerAnswer
from retry_engine.sandbox.population.paydays import since_payday
from retry_engine.sandbox.population.subscribers import Instrument, Story

_VISA_CODE = {
    "insufficient_funds": "51", "do_not_honor": "05", "generic_decline": "05",
    "issuer_not_available": "91", "processing_error": "96", "reenter_transaction": "19",
    "expired_card": "54", "lost_card": "41", "stolen_card": "43", "pickup_card": "04",
    "invalid_account": "14", "transaction_not_allowed": "57", "card_velocity_exceeded": "65",
    "incorrect_cvc": "N7", "incorrect_number": "14", "authentication_required": "1A",
    "call_issuer": "01", "restricted_card": "62",
}  # fmt: skip

HARD_DECLINES = (
    "lost_card",
    "stolen_card",
    "pickup_card",
    "invalid_account",
    "transaction_not_allowed",
)


class Issuers:
    """All banks of a world, under its seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def decline(
        self,
        instrument: Instrument,
        story: Story,
        at: datetime,
        *,
        on_session: bool,
        previous: Sequence[datetime],
    ) -> str | None:
        """The code with which the bank declines a charge; None where it gives the money."""
        if story.trouble == "authentication" and not on_session:
            return "authentication_required"
        if story.trouble in ("expired", "hard", "data"):
            return story.code
        if story.trouble in ("opaque", "technical", "limits", "blocked"):
            delayed = self._delayed_end(story, previous)
            if delayed is None or at < delayed:
                return story.code
        if self.is_empty(instrument, story, at):
            return "insufficient_funds"
        return self._bad_luck(instrument, at)

    @staticmethod
    def _delayed_end(story: Story, previous: Sequence[datetime]) -> datetime | None:
        """Bursts of tries make issuers stricter: each pair within two days costs another day."""
        if story.ends_at is None:
            return None
        bursts = sum(b - a < timedelta(hours=47) for a, b in pairwise(previous))
        if story.trouble in ("opaque", "blocked"):
            return story.ends_at + bursts * timedelta(days=1)
        return story.ends_at

    def is_empty(self, instrument: Instrument, story: Story, at: datetime) -> bool:
        """Whether the purse is too empty at that moment: by days since payday, and by the day."""
        local = at.astimezone(ZoneInfo(story.zone))
        since, length = since_payday(story.pay_rule, story.phase, local)
        drained = (since / length) ** 0.8
        weight = 0.45 if instrument.funding == "credit" else 0.75
        luck = self._luck(instrument.fingerprint, "day", local.date().isoformat())
        need = story.tightness + weight * drained + 0.30 * (luck - 0.5)
        return bool(need > 1.0)

    def _bad_luck(self, instrument: Instrument, at: datetime) -> str | None:
        hour = at.strftime("%Y%m%d%H")
        if (
            self._luck(instrument.bank_name or "", "outage", at.strftime("%Y%m%d"), at.hour // 6)
            < 0.008
        ):
            return "issuer_not_available"
        luck = self._luck(instrument.fingerprint, "hour", hour)
        if luck < 0.02:
            return "do_not_honor"
        return "processing_error" if luck < 0.025 else None

    def answer(
        self, instrument: Instrument, story: Story, code: str | None, at: datetime
    ) -> IssuerAnswer:
        """The bank's answer, with all that comes along with the code; None: it gives the money."""
        if code is None:
            return IssuerAnswer(outcome="succeeded")
        if instrument.type != "card":
            return IssuerAnswer(
                outcome="failed",
                decline_code=code if code == "insufficient_funds" else "refer_to_customer",
                outcome_type="issuer_declined",
                network_status="declined_by_network",
            )
        if story.trouble == "blocked" and code == story.code:
            return IssuerAnswer(
                outcome="failed",
                decline_code="generic_decline",
                outcome_type="blocked",
                outcome_reason="previously_declined_do_not_retry",
                network_status="not_sent_to_network",
            )
        network, merchant_advice = self._network_codes(instrument, story, code, at)
        return IssuerAnswer(
            outcome="requires_action" if code == "authentication_required" else "failed",
            decline_code=code,
            advice_code=_advice(code),
            network_decline_code=network,
            network_advice_code=merchant_advice,
            outcome_type="issuer_declined",
            outcome_reason=code,
            network_status="declined_by_network",
            risk_level="elevated" if code == "do_not_honor" else "normal",
        )

    def _network_codes(
        self, instrument: Instrument, story: Story, code: str, at: datetime
    ) -> tuple[str | None, str | None]:
        if instrument.brand == "visa":
            return _VISA_CODE.get(code, "05"), None
        if instrument.brand != "mastercard":
            return None, None
        if code == "insufficient_funds":
            return "51", self._funds_advice(instrument, story, at)
        if code in HARD_DECLINES:
            return "79" if code == "invalid_account" else "82", "03"
        if code == "expired_card":
            return "79", "01"
        return ("91", "02") if code == "issuer_not_available" else ("05", None)

    def _funds_advice(self, instrument: Instrument, story: Story, at: datetime) -> str | None:
        """Some issuers know when money comes, and say so in Mastercard's waits."""
        if self._luck(instrument.fingerprint, "advises") > 0.35:
            return None
        waits = ((1, "24"), (24, "25"), (48, "26"), (96, "27"), (144, "28"), (192, "29"))
        for hours, advice in waits:
            if not self.is_empty(instrument, story, at + timedelta(hours=hours)):
                return advice
        return "30"

    def _luck(self, *parts: object) -> float:
        """A uniform number in [0, 1) that belongs to these words under this seed."""
        text = " ".join(str(part) for part in (self._seed, *parts))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def _advice(code: str) -> str | None:
    if code in HARD_DECLINES:
        return "do_not_try_again"
    if code in ("incorrect_number", "incorrect_cvc", "expired_card"):
        return "confirm_card_data"
    if code in ("insufficient_funds", "issuer_not_available", "processing_error"):
        return "try_again_later"
    return None
