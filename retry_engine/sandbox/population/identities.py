"""Names, languages and e-mail addresses of the population, by country.

Drawn from a stream of their own, so that who is called what changes nothing of what befalls
them. All addresses end in `.example`, which belongs to nobody.
"""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a customer's record says of a person. `locale` as `preferred_locales` has it."""

    name: str
    email: str
    locale: str


# country -> (locale, given names, family names), with the letters of addresses where they differ
_NAMES: dict[str, tuple[str, str, str]] = {
    "US": ("en-US", "Olivia Liam Emma Noah Ava Mateo Zoe Elijah", "Smith Johnson Garcia Davis Lee"),
    "GB": ("en-GB", "Amelia Oliver Isla George Freya Harry", "Jones Taylor Patel Evans Khan"),
    "DE": ("de-DE", "Anna Ben Clara Jonas Lena Paul Jürgen", "Müller Schmidt Weber Yılmaz Becker"),
    "FR": ("fr-FR", "Camille Hugo Chloé Jules Inès Léo", "Martin Bernard Dubois Petit Nguyen"),
    "NL": ("nl-NL", "Sanne Daan Fleur Bram Lotte Sem", "Jansen Bakker Visser Smit Mulder"),
    "ES": ("es-ES", "Lucía Hugo Sofía Pablo Inés Álvaro", "García López Muñoz Ruiz Díaz"),
    "CA": ("en-CA", "Charlotte Jack Maya Nathan Élise", "Brown Tremblay Roy Singh Wilson"),
    "BR": ("pt-BR", "Ana João Beatriz Lucas Júlia", "Silva Santos Oliveira Souza Lima"),
    "AU": ("en-AU", "Matilda Jack Ruby Cooper Mia", "Williams Brown Nguyen Kelly Walker"),
    "JP": ("ja-JP", "葵:aoi 蓮:ren 陽葵:himari 湊:minato", "佐藤:sato 鈴木:suzuki 高橋:takahashi"),
}
# some read another language than their country's
_OTHERS = {"CA": ("fr-CA",), "US": ("es-US",)}
_ANYWHERE = ("en", "it", "pl", "sv", "pt-PT", "de", "fr")
_OTHER_SHARE = 0.10

_LETTERS = str.maketrans("üöäéèêóíáúçãıłşñÁÉ", "uoaeeeoiaucailsnAE")


def identity_of(key: str, country: str) -> Identity:
    """Who that person is; the key makes the address one of its own."""
    rng = Random(f"identity {key}")  # noqa: S311 -- a simulation
    locale, given, family = _NAMES.get(country, _NAMES["US"])
    first, last = rng.choice(given.split()), rng.choice(family.split())
    if rng.random() < _OTHER_SHARE:
        locale = rng.choice(_OTHERS.get(country, _ANYWHERE))
    shown_first, _, plain_first = first.partition(":")
    shown_last, _, plain_last = last.partition(":")
    parts = (plain_first or shown_first, plain_last or shown_last, key.replace("_", "-"))
    local = ".".join(parts).translate(_LETTERS).lower()
    name = f"{shown_last} {shown_first}" if country == "JP" else f"{shown_first} {shown_last}"
    return Identity(name=name, email=f"{local}@mail.example", locale=locale)
