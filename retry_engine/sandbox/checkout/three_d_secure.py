"""3D Secure: the bank's challenge, as it is put to a customer.

A failed one leaves no charge, as at Stripe: the intent asks for a method again.
"""

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import Refused
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import authorization

_NOT_AUTHENTICATED = (
    "We are unable to authenticate your payment method. Please choose a different payment method "
    "and try again."
)


def wants_challenge(account: Account, intent: Obj, method: Obj) -> bool:
    """Whether the bank asks its customer before it answers."""
    return authorization.wants_authentication(
        account, method, amount=intent["amount"], at=account.now_of(intent)
    )


def challenge(account: Account, intent: Obj, method: Obj, params: Obj) -> None:
    """The intent waits for its customer, who is sent to the bank's challenge."""
    url = challenge_url(account, intent)
    return_url = params.get("return_url")
    action: Obj = {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url},
    }
    if return_url and params.get("use_stripe_sdk") not in (True, "true"):
        action = {
            "type": "redirect_to_url",
            "redirect_to_url": {"url": url, "return_url": return_url},
        }
    intent.update(status="requires_action", payment_method=method["id"], next_action=action)
    account.hidden.setdefault(intent["id"], {})["return_url"] = return_url


def challenge_url(account: Account, intent: Obj) -> str:
    """Where the bank asks whether it is really them."""
    return f"{account.terms.pages_at}/challenge/{account.id}/{intent['client_secret']}"


def challenged(account: Account, client_secret: str) -> Obj | None:
    """The intent that has this secret, if it waits for its customer."""
    intent = account.find(client_secret.partition("_secret_")[0])
    if intent is None or intent.get("client_secret") != client_secret:
        return None
    return intent if intent["status"] == "requires_action" and intent["next_action"] else None


def not_authenticated(code: str) -> Refused:
    """What is said of an intent whose challenge was failed."""
    return Refused(402, "invalid_request_error", _NOT_AUTHENTICATED, code=code)
