"""Markup that should have been removed: rules of ours.

An extractor that worked leaves no tags. Prose has "<" now and then, so what counts is how much of the text is
tags and entities, and a few that only a whole page has.
"""

import re

from experiments.data.document import Document
from experiments.data.quality.verdict import KEEP, Verdict, at_most

_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9-]*(?:\s[^<>]*)?/?>|<!--|&(?:[a-z]{2,8}|#\d{2,6});")
_PAGE = re.compile(r"<!doctype\b|<(?:html|head|body|script|style|iframe)\b[^<>]*>", re.IGNORECASE)


def page(document: Document) -> Verdict:
    """No tag of a whole page, of a script or of a style sheet."""
    found = _PAGE.search(document.text)
    return Verdict(False, f"has {found[0][:40]}") if found else KEEP


def tags(document: Document) -> Verdict:
    """At most 2 % of the characters are in tags and entities."""
    size = sum(len(tag) for tag in _TAG.findall(document.text))
    return at_most(0.02, size / max(1, len(document.text)), "share of tags and entities")


RULES = {"page": page, "tags": tags}
