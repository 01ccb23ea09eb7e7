"""What is left out while a corpus is read: counted by file and reason, or, where nobody counts, an error."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from experiments.data.document import Document

LONGEST = 20_000_000  # bytes; a longer document is a file without line breaks, and no text

Skipped = dict[str, Counter[str]]  # file or data set -> reason -> records; reading it again changes nothing


@dataclass(frozen=True)
class LeftOut:
    """A record that is no document. `error` says what is wrong where that is an error; "" where it is none,
    such as a picture in a crawl."""

    reason: str
    error: str = ""


def kept(found: Iterable[Document | LeftOut], where: str, skipped: Skipped | None) -> Iterator[Document]:
    """The documents that are text.

    With `skipped` all others are counted: a crawl has wrong records. Without it empty documents are left out,
    and wrong records are errors.

    Args:
      found: what a file or data set has.
      where: its name.
      skipped: the counts of `where` are put here when all of it is read.

    Raises:
      ValueError: a wrong record that nobody counts; or no fewer wrong records than documents, which is a
        wrong setting, and no accident.
    """
    own: Counter[str] = Counter()
    n_documents = n_wrong = 0
    first = ""
    for each in found:
        if isinstance(each, LeftOut):
            if each.error and skipped is None:
                raise ValueError(each.error)
            own[each.reason] += 1
            n_wrong += bool(each.error)
            first = first or each.error
            continue
        reason = unreadable(each.text)
        if reason == "empty" or (reason and skipped is not None):
            own[reason] += 1
            continue
        n_documents += 1
        yield each
    if n_wrong and n_wrong >= n_documents:
        raise ValueError(f"{first} ({n_wrong} records are wrong here, and {n_documents} are not)")
    if own and skipped is not None:
        skipped[where] = own


def unreadable(text: str) -> str:
    """Why something is no text: "empty", "with NUL bytes" or "longer than 20 MB"; "" if it is one."""
    if not text.strip():
        return "empty"
    if "\0" in text:
        return "with NUL bytes"
    if 4 * len(text) > LONGEST and len(text.encode("utf-8", "replace")) > LONGEST:
        return f"longer than {LONGEST // 1_000_000} MB"
    return ""


def totals(skipped: Skipped) -> dict[str, int]:
    """Reason -> records, of all files; the commonest first."""
    return dict(sum(skipped.values(), Counter()).most_common())


def as_words(counts: Mapping[str, int]) -> str:
    """Counts for people: 3 empty, 1 not UTF-8."""
    return ", ".join(f"{n:,} {reason}" for reason, n in counts.items())
