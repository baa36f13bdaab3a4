"""A browser that runs no script: follows links, reads forms, sends them. Real HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx

_SECONDS = 15.0


class PageBroken(Exception):
    """The page did not come, or not as a page: `status` is 0 where nothing answered."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{url}: {status}")
        self.status = status


@dataclass(slots=True)
class Form:
    """A form with what is filled in already. `marks`: its attributes."""

    action: str
    method: str
    marks: dict[str, str]
    values: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_offer(self) -> bool:
        """Whether sending it takes an offer."""
        return "data-offer" in self.marks or "offer" in self.values


@dataclass(slots=True)
class Page:
    """What a reader without scripts has before them."""

    url: str
    text: str
    links: list[tuple[str, str]]  # (rel, address)
    forms: list[Form]

    def link(self, rel: str) -> str | None:
        """The first link of that relation."""
        return next((url for kind, url in self.links if rel in kind.split()), None)

    def form(self, mark: str) -> Form | None:
        """The first form that carries the attribute."""
        return next((form for form in self.forms if mark in form.marks), None)

    @property
    def offer(self) -> Form | None:
        """The first form that takes an offer."""
        return next((form for form in self.forms if form.is_offer), None)


class Browser:
    """One person's visit; cookies live as long as it does."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def open(self, url: str) -> Page:
        """Follow a link, and where it leads on to."""
        return await self._page("GET", url, None)

    async def send(
        self, page: Page, form: Form, filled: dict[str, str], button: tuple[str, str] | None = None
    ) -> Page:
        """Send a form with some fields filled in, by a button."""
        values = {**form.values, **filled, **dict([button] if button else [])}
        if form.method == "get":
            url = str(httpx.URL(form.action).copy_merge_params(values))
            return await self._page("GET", url, None)
        return await self._page("POST", form.action, values)

    async def post(self, url: str, values: dict[str, str]) -> int:
        """Send something without looking at what comes: its status."""
        try:
            return (await self._client.post(url, data=values)).status_code
        except httpx.HTTPError:
            return 0

    async def _page(self, method: str, url: str, values: dict[str, str] | None) -> Page:
        try:
            reply = await self._client.request(method, url, data=values, follow_redirects=True)
        except (httpx.HTTPError, httpx.InvalidURL):
            raise PageBroken(url, 0) from None
        # 402 is a page too: the card was declined
        if reply.status_code >= 400 and reply.status_code != 402:
            raise PageBroken(url, reply.status_code)
        return read(str(reply.url), reply.text)


def browser_client() -> httpx.AsyncClient:
    """The connection of one visit."""
    headers = {"User-Agent": "Mozilla/5.0 (sandbox; no scripts)", "Accept": "text/html"}
    return httpx.AsyncClient(timeout=_SECONDS, trust_env=False, headers=headers)


def read(url: str, text: str) -> Page:
    """The links and forms of a page."""
    reader = _Reader(url)
    reader.feed(text)
    return Page(url, text, reader.links, reader.forms)


_Attrs = Sequence[tuple[str, str | None]]


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._form: Form | None = None
        self.links: list[tuple[str, str]] = []
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: _Attrs) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("a", "link") and given.get("href"):
            self.links.append((given.get("rel", ""), urljoin(self._url, given["href"])))
        elif tag == "form":
            action = urljoin(self._url, given.get("action") or self._url)
            self._form = Form(action, given.get("method", "get").lower(), given)
            self.forms.append(self._form)
        elif tag in ("input", "button", "select", "textarea") and self._form is not None:
            self._field(self._form, tag, given)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    @staticmethod
    def _field(form: Form, tag: str, given: dict[str, str]) -> None:
        name, kind = given.get("name", ""), given.get("type", "")
        if tag == "button" or kind == "submit":
            form.buttons.append((name, given.get("value", "")))
        elif kind == "radio":
            form.choices.setdefault(name, []).append(given.get("value", ""))
            if "checked" in given:
                form.values[name] = given.get("value", "")
        elif kind == "checkbox":
            if "checked" in given:
                form.values[name] = given.get("value", "on")
        elif name:
            form.values[name] = given.get("value", "")
