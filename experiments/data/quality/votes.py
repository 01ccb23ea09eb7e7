"""What people thought of it: WebText's rule (Radford et al. 2019, section 2.1), links of 3 karma or more."""

import functools

from experiments.data.document import Document
from experiments.data.quality.verdict import Filter, Verdict, at_least


def votes(field: str, fewest: int) -> Filter:
    """The filter that drops documents with fewer than so many votes in a field of their records."""
    return functools.partial(_judge, field, fewest)


def _judge(field: str, fewest: int, document: Document) -> Verdict:
    value = document.fields.get(field)
    try:
        return at_least(fewest, float(value), field)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        there = ", ".join(document.fields) or "none"
        raise ValueError(
            f"data.quality: filter 'votes' needs a number in the field {field!r} of every record; here it is "
            f"{value!r} (fields: {there}); name the field by data.quality.votes_field"
        ) from None
