"""What newcomers read names files that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = r"(?:retry_engine|tests|benchmarks|config|migrations|requirements|docs|\.ci|\.github)/"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_no_file_that_is_not_there(document: Path) -> None:
    """Whoever moves a file finds here who speaks of it; `NNNN` and `…` stand for a choice."""
    named = re.findall(rf"(?<![\w/.])({OURS}[\w./-]*)", document.read_text())
    missing = [
        name for name in named if "NNNN" not in name and not (ROOT / name.rstrip(".")).exists()
    ]
    assert not missing


def test_every_task_of_the_makefile_is_told() -> None:
    """`make` alone lists what there is."""
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.M)
    assert set(phony.split()) == set(re.findall(r"^(\w+):.*## \w", makefile, flags=re.M))
