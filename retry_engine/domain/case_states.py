"""The states of a recovery case and the only ways between them, as one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from retry_engine.domain.errors import TransitionRefused
from retry_engine.domain.vocabulary import CaseState, CloseReason

__all__ = ["TRANSITIONS", "CaseState", "CloseReason", "Transition", "apply"]


@dataclass(frozen=True, slots=True)
class Transition:
    """A named way from any of `sources` to `target`."""

    sources: frozenset[CaseState]
    target: CaseState
    meaning: str


_S = CaseState


def _way(target: CaseState, meaning: str, *sources: CaseState) -> Transition:
    return Transition(frozenset(sources), target, meaning)


TRANSITIONS: Mapping[str, Transition] = MappingProxyType(
    {
        "charge_processing": _way(_S.PROCESSING, "a bank debit is under way", _S.OPEN),
        "debit_failed": _way(_S.OPEN, "the debit came back unpaid", _S.PROCESSING),
        "customer_needed": _way(
            _S.NEEDS_CUSTOMER, "only the customer can mend it", _S.OPEN, _S.PROCESSING
        ),
        "method_changed": _way(_S.OPEN, "a method may be charged again", _S.NEEDS_CUSTOMER),
        "held": _way(
            _S.IN_REVIEW,
            "a person looks first",
            _S.OPEN,
            _S.PROCESSING,
            _S.NEEDS_CUSTOMER,
            _S.PAUSED,
        ),
        "approved": _way(_S.OPEN, "a person approved", _S.IN_REVIEW),
        "rejected": _way(_S.PAUSED, "a person rejected", _S.IN_REVIEW),
        "paused": _way(
            _S.PAUSED,
            "nothing happens until it is resumed",
            _S.OPEN,
            _S.PROCESSING,
            _S.NEEDS_CUSTOMER,
            _S.IN_REVIEW,
        ),
        "resumed": _way(_S.OPEN, "planning goes on", _S.PAUSED),
        "resumed_processing": _way(
            _S.PROCESSING, "goes on; a debit is still under way", _S.PAUSED, _S.IN_REVIEW
        ),
        "resumed_waiting": _way(
            _S.NEEDS_CUSTOMER, "goes on; still waits for the customer", _S.PAUSED, _S.IN_REVIEW
        ),
        "closed": _way(_S.CLOSED, "the end", *(s for s in _S if s is not _S.CLOSED)),
    }
)


def apply(state: CaseState, name: str) -> CaseState:
    """The state after the named transition.

    Raises:
        TransitionRefused: there is no such way out of `state`.
    """
    transition = TRANSITIONS[name]
    if state not in transition.sources:
        raise TransitionRefused(f"the case is {state}; {name!r} is not possible from there")
    return transition.target
