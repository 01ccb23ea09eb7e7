"""A document: a text, and what its source says about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Document:
    """One text of a corpus; `fields` are the others of its record: its url, language, votes, …"""

    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def host_of(url: str) -> str | None:
    """The host of a url, without "www."; None where there is none."""
    try:
        name = urlsplit(url).hostname
    except ValueError:  # brackets that are no address
        return None
    return name.removeprefix("www.") if name else None
