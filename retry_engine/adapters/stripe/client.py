"""How a request to Stripe is made: its wire, its errors as ours, its limits, its repetitions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import stripe
import urllib3
from stripe import RequestOptions
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from retry_engine.adapters.stripe.mapping import decline_of
from retry_engine.domain.errors import (
    AccountWithdrew,
    StripeForbidden,
    StripeRejected,
    StripeUnavailable,
)
from retry_engine.recovery.gateway import PayResult

_T = TypeVar("_T")

# The version whose shapes are read here. The library pins the same one; saying it keeps an
# upgrade of the library from changing what we read without anybody noticing.
API_VERSION = "2026-10-28.endive"

# Stripe may hold a payment open for long; a shorter wait only makes more outcomes unknown.
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0

# How often one call is repeated, with the same idempotency key, before its outcome is unknown.
_TRIES = 4


class Transient(StripeUnavailable):
    """An error that is worth the same call again."""


class Declined(Exception):
    """A charge was declined: an answer, and no error of the call."""

    def __init__(self, result: PayResult) -> None:
        self.result = result


class Client:
    """Stripe's library with our own wire; one layer repeats what may be repeated.

    `pace(endpoint)` is called before every request and waits until Stripe's limits allow it.
    `answers`: how often Stripe has answered; a no counts, a closed door does not.
    """

    def __init__(
        self,
        *,
        key: str,
        base: str | None,
        pace: Callable[[str], None],
        sleep: Callable[[float], None],
    ) -> None:
        stripe.enable_telemetry = False
        self._pace = pace
        self._sleep = sleep
        self.answers = 0
        self._key = key
        self._files = (base or stripe.DEFAULT_UPLOAD_API_BASE).rstrip("/")
        self._file_wire = _Wire(self._files)
        self._client = stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            base_addresses={"api": base.rstrip("/")} if base else {},
            http_client=_Wire(base or stripe.DEFAULT_API_BASE),
            # one layer repeats, and it is ours: the library does not repeat a 429
            max_network_retries=0,
        )
        self.v1 = self._client.v1

    @staticmethod
    def options(account: str, *, key: str | None = None) -> RequestOptions:
        """Whose account a request is about, and the idempotency key it goes under."""
        options: RequestOptions = {}
        if account:
            options["stripe_account"] = account
        if key is not None:
            options["idempotency_key"] = key
        return options

    def call(self, endpoint: str, send: Callable[[], _T]) -> _T:
        """What `send` answers, repeated where nothing was decided.

        Raises:
            Declined: a charge was declined.
            StripeRejected: Stripe refuses the request as such.
            StripeForbidden: the key may not, or the account has withdrawn.
            StripeUnavailable: no answer, however often it was asked.
        """
        retrying = Retrying(
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.3, max=5),
            retry=retry_if_exception_type(Transient),
            sleep=self._sleep,
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                self._pace(endpoint)
                with _errors_of_ours(endpoint):
                    try:
                        answer = send()
                    except (stripe.InvalidRequestError, stripe.CardError):
                        self.answers += 1  # a no is an answer too
                        raise
                    self.answers += 1
                    return answer
        raise AssertionError("tenacity either returns or raises")

    def fetch(self, endpoint: str, account: str, path: str, into: Path) -> None:
        """Write what stands at a path of the files' host to `into`; all of it, or an error.

        The library reads answers as JSON, and so cannot read these.
        """
        headers = {"Authorization": f"Bearer {self._key}", "Stripe-Version": API_VERSION}
        if account:
            headers["Stripe-Account"] = account
        url = f"{self._files}{path}"
        self.call(endpoint, lambda: self._file_wire.fetch(url, headers, into))


class Part:
    """A part of the gateway: what it asks goes through the one client."""

    def __init__(self, client: Client) -> None:
        self._stripe = client


class _Wire(stripe.HTTPClient):
    """HTTP over connections that are kept alive.

    The library's own client goes through `requests`, which looks up proxies and rebuilds much for
    every request: that took more of a worker's time than all else about a call.
    """

    name = "urllib3"

    def __init__(self, base: str) -> None:
        super().__init__()
        self._pool = _connections_to(base)

    def request(  # type: ignore[override]  # the body as bytes, as the library's own clients give it
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        **_: Any,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request and read its whole answer."""
        try:
            answer = self._pool.request(
                method.upper(),
                url,
                headers={"Accept-Encoding": "gzip, deflate", **(headers or {})},
                body=post_data,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            text = f"no answer from Stripe: {type(error).__name__}"
            raise stripe.APIConnectionError(text) from error  # type: ignore[no-untyped-call]
        return answer.data, answer.status, answer.headers

    def fetch(self, url: str, headers: Mapping[str, str], into: Path) -> None:
        """Write the body of an answer to a file, however long it is."""
        try:
            answer = self._pool.request(
                "GET", url, headers=headers, preload_content=False, retries=False
            )
            try:
                _refuse_unless_200(answer)
                with into.open("wb") as file:
                    for chunk in answer.stream(1 << 16):
                        file.write(chunk)
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:  # also where the body breaks off
            text = f"no answer from Stripe: {type(error).__name__}"
            raise stripe.APIConnectionError(text) from error  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _connections_to(base: str) -> urllib3.PoolManager:
    """Kept-alive connections to that host, through the environment's proxy where it names one."""
    common: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        "cert_reqs": "CERT_REQUIRED",
        "ca_certs": stripe.ca_bundle_path,
        "maxsize": 10,
    }
    found = urlsplit(base)
    proxies = getproxies()
    proxy = proxies.get(found.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(found.netloc):
        return urllib3.PoolManager(**common)
    if proxy.startswith("socks"):
        from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415  # wants PySocks

        return SOCKSProxyManager(proxy, **common)
    address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    credentials = (
        f"{unquote(address.username)}:{unquote(address.password or '')}"
        if (address.username)
        else None
    )
    return urllib3.ProxyManager(
        address.geturl(),
        proxy_headers=urllib3.make_headers(proxy_basic_auth=credentials),
        **common,
    )


def _refuse_unless_200(answer: urllib3.BaseHTTPResponse) -> None:
    """The library's own errors for what is no file."""
    status = answer.status
    if status == 200:
        return
    made: Any = {"http_status": status}
    if status == 401:
        raise stripe.AuthenticationError(None, **made)
    if status == 403:
        raise stripe.PermissionError(None, **made)
    if status == 429:
        raise stripe.RateLimitError(None, **made)
    if status < 500:
        raise stripe.InvalidRequestError(None, None, **made)  # type: ignore[no-untyped-call]
    raise stripe.APIError(None, **made)


@contextmanager
def _errors_of_ours(endpoint: str) -> Iterator[None]:
    """Stripe's errors as ours. Their texts may quote input: only codes and ids are passed on."""
    try:
        yield
    except stripe.CardError as error:
        raise Declined(decline_of(error)) from error
    except stripe.RateLimitError as error:
        code = getattr(error.error, "code", None) or "rate_limit"
        raise Transient(f"Stripe {endpoint}: 429 {code}") from error
    except stripe.IdempotencyError as error:
        raise StripeRejected(
            f"Stripe {endpoint}: the idempotency key was used with other parameters",
            code="idempotency_error",
            status=400,
        ) from error
    except stripe.InvalidRequestError as error:
        text = f"Stripe {endpoint}: {error.http_status} {error.code or 'invalid_request'}"
        if error.param:
            text += f" ({error.param})"
        if error.http_status == 429 or error.code in ("lock_timeout", "rate_limit"):
            raise Transient(text) from error
        raise StripeRejected(text, code=error.code, status=error.http_status) from error
    except stripe.AuthenticationError as error:
        raise StripeForbidden(f"Stripe {endpoint}: 401, the API key is not accepted") from error
    except stripe.PermissionError as error:
        if getattr(error.error, "code", None) == "account_invalid":
            raise AccountWithdrew(
                f"Stripe {endpoint}: 403 account_invalid, the account gives our key no access"
            ) from error
        raise StripeForbidden(
            f"Stripe {endpoint}: 403, the API key lacks the permission for it"
        ) from error
    except stripe.APIConnectionError as error:
        raise Transient(f"Stripe {endpoint}: no answer ({type(error).__name__})") from error
    except stripe.StripeError as error:  # 409 and 5xx come as plain APIError
        raise Transient(f"Stripe {endpoint}: HTTP {error.http_status}") from error
