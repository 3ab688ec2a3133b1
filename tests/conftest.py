"""Hypothesis looks for new examples on a developer's machine and repeats the same ones in CI, however slow it is."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
