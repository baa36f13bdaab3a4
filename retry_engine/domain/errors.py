"""Every error that crosses a room's border, as one tree.

RetryEngineError
├── SettingsError            a setting is missing or malformed            (exit 2)
├── NotFound                 no such case, review, event                  (exit 1, HTTP 404)
├── Refused                  asked for, understood, not allowed           (exit 1, HTTP 409)
│   ├── AttemptRefused       the networks' rules forbid the attempt
│   ├── TransitionRefused    the case's state forbids it
│   ├── NotPermitted         the case's mode or the engine's forbids to write
│   ├── InvalidInput         a file's content is not what it should be
│   └── CannotLearn          the data carry no model
├── SendingForbidden         the brake was pulled before a charge left     (it is put back)
├── BadRequest               the request itself makes no sense            (exit 2, HTTP 422)
├── StoreUnavailable         PostgreSQL cannot be reached                 (exit 1, HTTP 503)
├── BrokerUnavailable        the Celery broker cannot be reached
├── CannotBeWrittenTo        an address that is not one mailbox
├── MailError
│   ├── MailNotSent          nothing has left; it may be tried again
│   ├── MailRefused          the address or the message is refused for good
│   └── MailUnknown          it may or may not have left
└── StripeError
    ├── StripeUnavailable    no or no usable answer: the outcome is unknown
    ├── StripeRejected       a definite no (400, 404): nothing was done
    └── StripeForbidden      key or permission (401, 403): nothing was done
        └── AccountWithdrew  the account gives our key no access at all
"""

from datetime import datetime


class RetryEngineError(Exception):
    """Anything that this engine raises on purpose; its text is one line for a person."""


class SettingsError(RetryEngineError):
    """A setting is missing or malformed."""


class NotFound(RetryEngineError):
    """No such case, review or event."""


class BadRequest(RetryEngineError):
    """The request itself makes no sense."""


class Refused(RetryEngineError):
    """Understood, and not allowed now."""


class AttemptRefused(Refused):
    """The card networks' rules forbid this attempt."""

    def __init__(self, message: str, *, rule: str, allowed_from: datetime | None) -> None:
        super().__init__(message)
        self.rule = rule
        self.allowed_from = allowed_from


class SendingForbidden(RetryEngineError):
    """A charge may not be sent any more, or not once more; nothing was sent by this call."""


class TransitionRefused(Refused):
    """The case's state does not allow this."""


class NotPermitted(Refused):
    """Nothing may be written; `passes`: only as long as the engine is in its present mode."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message)
        self.passes = passes


class InvalidInput(Refused):
    """A file's content is not what was expected; nothing of it was taken."""


class CannotLearn(Refused):
    """The data cannot carry a model."""


class StoreUnavailable(RetryEngineError):
    """PostgreSQL cannot be reached.

    `detail` says where and why, for logs and for who runs a command here; the text does not, as
    it is also an answer to strangers.
    """

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class BrokerUnavailable(RetryEngineError):
    """The Celery broker cannot be reached."""


class CannotBeWrittenTo(RetryEngineError):
    """This is not the address of one mailbox. The text says why, and never holds the address."""


class MailError(RetryEngineError):
    """A message was not sent, or nobody knows. The text never holds the address."""


class MailNotSent(MailError):
    """Nothing has left; it may be tried again."""


class MailRefused(MailError):
    """Refused for good. `address`: because of whom it was for."""

    def __init__(self, message: str, *, address: bool) -> None:
        super().__init__(message)
        self.address = address


class MailUnknown(MailError):
    """It may or may not have left."""


class StripeError(RetryEngineError):
    """Stripe did not do what was asked."""


class StripeUnavailable(StripeError):
    """No usable answer came: what was asked may or may not have happened."""


class StripeRejected(StripeError):
    """Stripe refused the request as such: nothing happened."""

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    @property
    def names_what_is_missing(self) -> bool:
        """Stripe has something no more, or never had it: what was asked for, or is named in it."""
        return self.status == 404 or self.code == "resource_missing"


class StripeForbidden(StripeError):
    """The API key is wrong or lacks a permission: nothing happened."""


class AccountWithdrew(StripeForbidden):
    """The connected account is gone, or has taken our access to it away: nothing happened."""


def reason_of(error: Exception) -> str:
    """An error as it is kept in rows and shown to people.

    The text of a foreign one may hold hosts, statements and what customers typed: that is for the
    log alone.
    """
    if isinstance(error, RetryEngineError):
        return str(error)
    return f"an error of the engine's own ({type(error).__name__}); its log says more"
