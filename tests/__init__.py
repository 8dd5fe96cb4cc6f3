"""The tests of mtad; `make test` runs them all."""

import os

from hypothesis import settings

# How fast an example ran says more of the machine's other work than of the code: no deadline, and the same examples
# each time, so that a red run is red for whoever runs it next. HYPOTHESIS_PROFILE=default looks for new ones.
settings.register_profile("mtad", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "mtad"))
