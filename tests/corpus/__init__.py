"""Tests over collections nobody here wrote, read in place: they are not part of this repository.

`MTAD_CORPORA` names the folder that holds them; without it, `shared/corpora` beside the checkout.
"""

import os
from pathlib import Path

from twisted.trial.unittest import SkipTest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "corpora"


def corpus(name: str) -> Path:
    """Return the folder of that collection; without it the test that asks fails where CI is set, else is skipped."""
    folder = corpus_or_none(name)
    if folder is not None:
        return folder
    missing = f"the corpus {name} is not there: {_folder(name)} (set MTAD_CORPORA)"
    if os.environ.get("CI"):
        raise AssertionError(missing)
    raise SkipTest(missing)


def corpus_or_none(name: str) -> Path | None:
    """Return the folder of that collection if there is one: for what is made of it before any test runs."""
    folder = _folder(name)
    return folder if folder.is_dir() else None


def _folder(name: str) -> Path:
    return Path(os.environ.get("MTAD_CORPORA") or _BESIDE) / name
