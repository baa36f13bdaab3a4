"""The HTML of Stripe's own pages for customers: an invoice, the bank's challenge, the portal.

Plain forms that work without a script. English only, whatever language the customer reads;
amounts are written as their locale does. No design of Stripe's is copied.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from urllib.parse import quote

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_currency, get_currency_precision

from retry_engine.sandbox.objects import Obj

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 30rem; padding: 1.5rem 1rem; }
h1 { font-size: 1.2rem; } .owed { font-size: 2rem; font-weight: 600; margin: 0; }
fieldset { border: 1px solid #8886; border-radius: .5rem; margin: 1rem 0; padding: .75rem 1rem; }
label { display: block; margin: .4rem 0; }
input[type=text] { box-sizing: border-box; font: inherit; padding: .5rem; width: 100%; }
button { border: 0; border-radius: .5rem; font: inherit; margin: .5rem .5rem .5rem 0;
  min-height: 2.75rem; padding: .6rem 1.2rem; }
button.main { background: #14532d; color: #fff; width: 100%; }
[role=alert] { border-left: .3rem solid #b91c1c; padding-left: .75rem; }
.note { font-size: .85rem; }
iframe { border: 1px solid #8886; height: 30rem; width: 100%; } pre { white-space: pre-wrap; }
"""


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}"
        '<p class="note">Sandbox: no money moves, only test cards work.</p></main></body></html>'
    )


def money(amount: int, currency: str, locale: str | None = None) -> str:
    """Minor units as people of that locale write them."""
    code = currency.upper()
    value = Decimal(amount).scaleb(-get_currency_precision(code))
    return format_currency(value, code, locale=_known(locale))


def _known(locale: str | None) -> str:
    try:
        return str(Locale.parse(locale or "en-US", sep="-"))
    except (ValueError, UnknownLocaleError):
        return "en_US"


def invoice(
    invoice: Obj, *, locale: str | None, methods: Sequence[Obj], error: str | None, lines: Obj
) -> str:
    """What is owed, and a form to pay it with a saved or a new card."""
    shown = money(invoice["amount_remaining"], invoice["currency"], locale)
    state = _state(invoice)
    if state is not None:
        return document(state, f"<h1>{escape(state)}</h1>{_rows(invoice, locale, lines)}")
    body = (
        f"<h1>Invoice {escape(str(invoice['number']))}</h1>"
        f'<p class="owed" data-amount="{invoice["amount_remaining"]}" '
        f'data-currency="{escape(invoice["currency"])}">{escape(shown)}</p>'
        f"<p>from {escape(invoice['account_name'])}</p>{_rows(invoice, locale, lines)}"
        f'{_alert(error)}<form method="post" data-pay>'
        f"{_choice(methods)}"
        '<label><input type="checkbox" name="save" value="true" checked> '
        "Use this for the next payments too</label>"
        f'<button class="main">Pay {escape(shown)}</button></form>'
    )
    return document(f"Pay {shown}", body)


def _state(invoice: Obj) -> str | None:
    if invoice["status"] == "paid":
        return "This invoice is paid. Thank you."
    if invoice["status"] == "void":
        return "This invoice is void: nothing is owed."
    if invoice["status"] == "draft":
        return "This invoice is not final yet."
    return None


def _rows(invoice: Obj, locale: str | None, sums: Obj) -> str:
    rows = [
        (line["description"], money(line["amount"], invoice["currency"], locale))
        for line in invoice["lines"]["data"]
    ]
    rows += [
        (name, "-" + money(amount, invoice["currency"], locale)) for name, amount in sums.items()
    ]
    return "<dl>" + "".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in rows) + "</dl>"


def _alert(error: str | None) -> str:
    return f'<p role="alert">{escape(error)}</p>' if error else ""


def _choice(methods: Sequence[Obj]) -> str:
    saved = "".join(
        f'<label><input type="radio" name="method" value="{escape(m["id"])}"> '
        f"{escape(label(m))}</label>"
        for m in methods
    )
    if not saved:
        new = '<input type="hidden" name="method" value="new">'
    else:
        new = '<label><input type="radio" name="method" value="new" checked> A new card</label>'
    return f"<fieldset><legend>Pay with</legend>{saved}{new}{_CARD}</fieldset>"


_CARD = (
    '<label>Card number<input type="text" name="number" inputmode="numeric" '
    'autocomplete="cc-number"></label>'
    '<label>Expiry (MM/YY)<input type="text" name="expiry" autocomplete="cc-exp"></label>'
    '<label>Security code<input type="text" name="cvc" inputmode="numeric" '
    'autocomplete="cc-csc"></label>'
)


def label(method: Obj) -> str:
    """A method as its owner knows it."""
    detail = method[method["type"]]
    name = detail.get("brand") or method["type"].replace("_", " ")
    expiry = f", {detail['exp_month']:02d}/{detail['exp_year']}" if "exp_year" in detail else ""
    return f"{name.title()} ending in {detail.get('last4')}{expiry}"


def challenge(*, framed: bool) -> str:
    """The bank asks whether it is them."""
    hidden = '<input type="hidden" name="framed" value="1">' if framed else ""
    body = (
        "<h1>Your bank asks: is this you?</h1>"
        "<p>This stands for your bank's own 3D Secure page.</p>"
        f'<form method="post" data-challenge>{hidden}'
        '<button class="main" name="answer" value="pass">Yes, authenticate</button>'
        '<button name="answer" value="fail">Fail authentication</button></form>'
    )
    return document("3D Secure", body)


def challenge_over(message: str, *, script: str | None) -> str:
    """The challenge has been answered; in a frame, the page around it is told."""
    tag = f'<script src="{escape(script)}"></script>' if script else ""
    return document("3D Secure", f"<h1>{escape(message)}</h1>{tag}")


def portal(
    *, methods: Sequence[Obj], default: str | None, subscriptions: Sequence[Obj], error: str | None,
    done: str | None, return_url: str | None, flow: str | None,
) -> str:  # fmt: skip
    """The customer's own page: their cards, their subscriptions."""
    rows = "".join(
        f"<li>{escape(label(m))}{' (default)' if m['id'] == default else ''}</li>" for m in methods
    )
    card = (
        '<form method="post" data-card><input type="hidden" name="do" value="card">'
        f"<fieldset><legend>A new card, from now on</legend>{_CARD}</fieldset>"
        '<button class="main">Save card</button></form>'
    )
    ends = "".join(
        '<form method="post" data-cancel><input type="hidden" name="do" value="cancel">'
        f'<input type="hidden" name="subscription" value="{escape(s["id"])}">'
        f"<p>Subscription, {escape(_renews(s))}</p><button>Cancel subscription</button></form>"
        for s in subscriptions
    )
    back = f'<p><a href="{escape(return_url)}">Back</a></p>' if return_url else ""
    told = f'<p role="status">{escape(done)}</p>' if done else ""
    only = {"payment_method_update": card, "subscription_cancel": ends}.get(flow or "")
    body = (
        f"<h1>Your account</h1>{told}{_alert(error)}<ul>{rows}</ul>"
        f"{only if only is not None else card + ends}{back}"
    )
    return document("Your account", body)


def _renews(subscription: Obj) -> str:
    moment = datetime.fromtimestamp(subscription["items"]["data"][0]["current_period_end"], UTC)
    return f"paid until {format_date(moment, locale='en_US')}"


def gone(message: str) -> str:
    """A link that leads nowhere."""
    return document("Not found", f"<h1>{escape(message)}</h1>")


def mailboxes(boxes: Sequence[tuple[str, int]]) -> str:
    """All addresses that got mail."""
    rows = "".join(
        f'<li><a href="?address={quote(address)}">{escape(address)}</a> ({count})</li>'
        for address, count in boxes
    )
    return document("Mailboxes", f"<h1>Mailboxes</h1><ul>{rows}</ul>")


def mailbox(address: str, letters: Sequence[Obj]) -> str:
    """What is in one mailbox, newest first."""
    body = "".join(_letter(letter) for letter in reversed(letters))
    return document(address, f"<h1>{escape(address)}</h1>{body}")


def _letter(letter: Obj) -> str:
    at = datetime.fromtimestamp(letter["at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    frame = ""
    if letter["html"]:
        frame = f'<iframe sandbox title="As HTML" srcdoc="{escape(letter["html"])}"></iframe>'
    return (
        f"<article><h2>{escape(letter['subject'])}</h2><p>{at}, from {escape(letter['from'])}</p>"
        f"{frame}<pre>{escape(letter['text'] or '')}</pre></article>"
    )
