"""Bodies that are no JSON, or JSON that PostgreSQL or Python cannot hold."""

from retry_engine.domain.strict_json import DEEPEST

UNSTORABLE = {
    "not a number": b'{"created": NaN}',
    "infinity": b'{"created": -Infinity}',
    "an exponent that is infinity": b'{"created": 1e400}',
    "an exponent that is long when written out": b'{"created": 1e131071}',
    "a fraction that is long when written out": b'{"created": 1e-16000}',
    "thousands of digits": b'{"created": ' + b"9" * 5000 + b"}",
    "thousands of decimals": b'{"created": 0.' + b"9" * 5000 + b"}",
    "an escaped lone surrogate": rb'{"name": "\ud800"}',
    "an escaped lone surrogate in capitals": rb'{"name": "\uDFFF"}',
    "a surrogate pair the wrong way round": rb'{"name": "\udc00\ud800"}',
    "a lone surrogate in a key": rb'{"\ud800": 1}',
    "a lone surrogate as bytes": b'{"name": "\xed\xa0\x80"}',
    "no UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": 1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NUL": rb'{"name": "a\u0000b"}',
    "NUL in a key": rb'{"a": [{"\u0000": 1}]}',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a little too deep": b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
    "nothing": b"",
    "half": b'{"name": ',
}
