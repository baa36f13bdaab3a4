"""What we are installed with may be one work with us, and the list of it is what is installed."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def check() -> subprocess.CompletedProcess[str]:
    """The command that a contributor runs, on what is installed here."""
    command = [sys.executable, str(ROOT / ".ci" / "licences.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_list_of_licences_is_what_the_installed_packages_say() -> None:
    """A package that came, went or changed its licence fails here, as does one the GPL excludes."""
    done = check()
    assert done.returncode == 0, done.stderr


def test_the_licence_that_we_state_is_the_one_whose_text_lies_here() -> None:
    """The whole text, not a notice of it."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == (
        "GPL-3.0-or-later"
    )
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:7] == "GNU GENERAL PUBLIC LICENSE Version 3, 29".split()
    assert "END OF TERMS AND CONDITIONS" in text
