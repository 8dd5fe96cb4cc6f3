"""Tests over collections nobody here wrote, read in place: they are not part of this repository.

`MTAD_CORPORA` names the folder that holds them; without it, `shared/corpora` beside the checkout.
"""

import os
from pathlib import Path

from twisted.trial.unittest import SkipTest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "corpora"


def corpus(name: str) -> Path:
    """Return the folder of that collection, or skip the test that needs it."""
    folder = Path(os.environ.get("MTAD_CORPORA") or _BESIDE) / name
    if not folder.is_dir():
        raise SkipTest(f"the corpus {name} is not there: {folder} (set MTAD_CORPORA)")
    return folder
