"""A row of the doctor's, and how a part becomes one."""

from collections.abc import Callable
from dataclasses import dataclass

from retry_engine.domain.errors import RetryEngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row. `mend` says what to do where the status is not `ok`."""

    name: str
    status: str
    detail: str
    mend: str = ""


def check_part(name: str, test: Callable[[], str], *, mend: str) -> Check:
    """`ok` with what the test says, or `fail` with its error."""
    try:
        return Check(name=name, status="ok", detail=test())
    except RetryEngineError as error:
        more = getattr(error, "detail", "")
        return Check(
            name=name, status="fail", detail=f"{error}: {more}" if more else str(error), mend=mend
        )
