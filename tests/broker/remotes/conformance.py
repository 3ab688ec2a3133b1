"""What every remote and every decorator must do, as one suite.

A test class inherits `Conformance` and has a fixture `remote` that makes an empty remote. What a remote says that it
cannot do is left out.
"""

from __future__ import annotations

from .conformance_attributes import NodeAttributes
from .conformance_content import Content
from .conformance_names import Names


class Conformance(Content, Names, NodeAttributes):
    """The whole suite."""
