"""A document: a text, and what its source says about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Document:
    """One text of a corpus; `fields` are the others of its record: its url, language, votes, …"""

    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)
