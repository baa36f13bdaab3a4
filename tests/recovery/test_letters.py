"""What a customer reads, in every language and of every kind."""

from datetime import UTC, datetime
from itertools import product

import pytest

from retry_engine import presentation
from retry_engine.domain.errors import BadRequest
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.policy import Policy

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
# In our seven languages: what nobody is told.
_SECRET = (
    "fraud", "betrug", "fraude", "frode", "suspect", "verdacht", "lost", "stolen", "verloren",
    "gestohlen", "perdu", "volé", "robad", "perdid", "rubat", "smarrit", "gestolen", "roubad",
    "declin", "refus", "rechaz", "rifiut", "geweiger", "abgelehnt", "recusad",
)  # fmt: skip


@pytest.mark.parametrize(("kind", "language"), [*product(MessageKind, presentation.LANGUAGES)])
def test_every_letter_is_whole_and_names_no_reason(kind: MessageKind, language: str) -> None:
    written = presentation.preview(kind.value, language, policy=Policy(), discount=0, now=NOW)
    assert written.language == language
    for text in (written.subject, written.text, written.html):
        assert text.strip()
        assert "{" not in text
    words = {word.strip(".,:;!?»«\"'").casefold() for word in written.text.split()}
    told = [w for w in words for s in _SECRET if w.startswith(s)]
    assert told == []


@pytest.mark.parametrize("language", presentation.LANGUAGES)
def test_before_a_renewal_the_amount_and_the_day_are_named(language: str) -> None:
    written = presentation.preview(
        "renewal_at_risk", language, policy=Policy(), discount=0, now=NOW
    )
    assert "29" in written.text  # the amount
    assert "13" in written.text  # three days on
    assert "https://example.com/pay" in written.text


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="renewal_at_risk"):
        presentation.preview("renewal", "en", policy=Policy(), discount=0, now=NOW)
