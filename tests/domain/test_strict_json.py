import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unstorable import UNSTORABLE

from retry_engine.domain.strict_json import DEEPEST, NotStrict, parse


@pytest.mark.parametrize("body", UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_what_cannot_be_kept_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(NotStrict) as caught:
        parse(body)
    assert 10 < len(str(caught.value)) < 100


@pytest.mark.parametrize(
    "body",
    [
        rb'{"name": "\ud83d\ude00"}',  # a pair is a character
        rb'{"path": "C:\\u0000"}',  # a backslash and letters
        b"[" * DEEPEST + b"]" * DEEPEST,
        b'{"rate": 1.2e-7, "amount": 9007199254740993, "below": -0.5}',
    ],
)
def test_what_only_looks_like_it_is_read(body: bytes) -> None:
    assert parse(body) == json.loads(body)


_LEAVES = (
    st.none() | st.booleans() | st.integers(-(10**15), 10**15)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
)  # fmt: skip


@given(st.recursive(_LEAVES, lambda c: st.lists(c) | st.dictionaries(st.text("ab"), c)))
def test_all_that_stripe_may_say_is_read_as_it_is(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value
