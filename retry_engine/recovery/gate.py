"""The one gate before every write to Stripe and every word to a customer.

A case remembers in which mode it was opened; a process knows in which mode it runs. Only where both
say `takeover` may anything be written. Each method that writes (of `gateway.Gateway` and of
`messaging.channel.MessageChannel`) wants a `Permit`, and only `permit` makes one: what goes around
the gate does not pass the type checker.
"""

from dataclasses import dataclass

from retry_engine.domain.errors import NotPermitted
from retry_engine.domain.modes import Mode


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to write, made by `permit` alone; it holds for the piece of work that asked for it."""

    case_mode: str
    engine_mode: str


def permit(case_mode: str, engine_mode: str) -> Permit:
    """Leave to write for a case of that mode, in a process of that mode.

    Raises:
        NotPermitted: one of the two forbids it.
    """
    if case_mode != Mode.TAKEOVER:
        raise NotPermitted(f"the case is in mode {case_mode}: nothing is written", passes=False)
    if engine_mode != Mode.TAKEOVER:
        raise NotPermitted(f"the engine is in {engine_mode}: nothing is written", passes=True)
    return Permit(case_mode, engine_mode)


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one process."""

    engine_mode: str

    @property
    def is_shut(self) -> bool:
        """Nothing is written here, whatever a case says."""
        return self.engine_mode != Mode.TAKEOVER

    def permit(self, case_mode: str) -> Permit:
        """As `permit`, in this process."""
        return permit(case_mode, self.engine_mode)

    def refusal(self, case_mode: str) -> NotPermitted | None:
        """Why nothing may be written for such a case; None: it may."""
        try:
            self.permit(case_mode)
        except NotPermitted as refused:
            return refused
        return None
