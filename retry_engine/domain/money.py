"""Money at Stripe: integers in the minor unit, whose size and smallest charge differ by currency.

Source: docs.stripe.com/currencies. Stripe's units are not ISO's in every case (ugx, isk, mga).
"""

from collections.abc import Mapping
from decimal import Decimal

from retry_engine.domain.errors import InvalidInput

_ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
_THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())

# Whole units only, though sent with two decimals; and a last digit that must be 0.
_STEPS: Mapping[str, int] = {"isk": 100, "ugx": 100, **dict.fromkeys(_THREE_DECIMAL, 10)}

# The smallest charge, in minor units. Stripe may raise these: its own `amount_too_small` decides.
_MINIMUMS: Mapping[str, int] = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500,
    "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000,
    "myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip


# ISO 4217, and those that Stripe still charges in though ISO has let them go.
_CURRENCIES = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob bov brl bsd
    btn bwp byn bzd cad cdf che chf chw clf clp cny cop cou crc cup cve czk djf dkk dop dzd
    egp ern etb eur fjd fkp gbp gel ghs gip gmd gnf gtq gyd hkd hnl hrk htg huf idr ils inr
    iqd irr isk jmd jod jpy kes kgs khr kmf kpw krw kwd kyd kzt lak lbp lkr lrd lsl lyd mad
    mdl mga mkd mmk mnt mop mru mur mvr mwk mxn mxv myr mzn nad ngn nio nok npr nzd omr pab
    pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sdg sek sgd shp sle sll sos srd
    ssp std stn svc syp szl thb tjs tmt tnd top try ttd twd tzs uah ugx usd uyu uzs ved ves
    vnd vuv wst xaf xcd xcg xof xpf yer zar zmw zwg zwl
    """.split()
)


def known_currency(value: object, *, of: str) -> str:
    """The currency's code as Stripe gives it, in lower case.

    Raises:
        InvalidInput: it is none; `of` names what it was found on.
    """
    if isinstance(value, str) and value in _CURRENCIES:
        return value
    raise InvalidInput(
        f"the currency of {of} is {str(value)[:20]!r}; expected an ISO code in lower case, as eur"
    )


def exponent(currency: str) -> int:
    """How many decimals Stripe's minor unit stands for: 2 for cents, 0 for yen."""
    if currency in _ZERO_DECIMAL:
        return 0
    return 3 if currency in _THREE_DECIMAL else 2


def step(currency: str) -> int:
    """Amounts are multiples of this."""
    return _STEPS.get(currency, 1)


def minimum_charge(currency: str) -> int:
    """The smallest amount that can be charged, 0 where none is published."""
    return _MINIMUMS.get(currency, 0)


def plain(amount: int, currency: str) -> str:
    """For logs and terminals: `12.34 EUR`, `500 JPY`.

    >>> plain(1234, "eur"), plain(500, "jpy")
    ('12.34 EUR', '500 JPY')
    """
    decimals = exponent(currency)
    sign, digits = ("-" if amount < 0 else ""), str(abs(amount)).rjust(decimals + 1, "0")
    number = digits if decimals == 0 else f"{digits[:-decimals]}.{digits[-decimals:]}"
    return f"{sign}{number} {currency.upper()}"


def in_major_units(amount: int, currency: str) -> Decimal:
    """What people read: exactly `12.34` for 1234 cents.

    >>> in_major_units(1234, "eur"), in_major_units(500, "jpy")
    (Decimal('12.34'), Decimal('500'))
    """
    return Decimal(amount).scaleb(-exponent(currency))
