"""How commands say what they found: a document on stdout, all else on stderr."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any


def show(found: Any, as_json: bool, draw: Callable[[Any], None]) -> None:
    """As a document or drawn for a person."""
    print_json(found) if as_json else draw(found)


def print_json(found: Any) -> None:
    """One document on stdout."""
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


def say(text: str) -> None:
    """A line of progress, beside the document."""
    print(text, file=sys.stderr, flush=True)


def tell_wait(for_what: Sequence[str]) -> None:
    """The brake is pulled already, and stays so if this command is broken off."""
    say("Nothing more is charged from now on. Waiting for what had left before:")
    for text in for_what:
        say(f"  {text}")
