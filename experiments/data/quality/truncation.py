"""Text that was cut off, as by "read more": a rule of ours, after C4's for lines."""

import re

from experiments.data.document import Document
from experiments.data.quality.verdict import KEEP, Verdict

END_MARKS = ".!?:;)]>。！？।؟…"
QUOTES = "\"'”’»_*`"
_ELLIPSIS = re.compile(r"(?<!\.)\.\.\.$|…$|\[(?:…|\.\.\.)\]$")  # a fourth dot is a full stop


def ending(document: Document) -> Verdict:
    """The text ends with an end mark, maybe within quotes, and not with an ellipsis."""
    text = document.text.rstrip()
    inner = text.rstrip(QUOTES)
    if _ELLIPSIS.search(text):
        return Verdict(False, f"ends with an ellipsis: {text[-20:]!r}")
    if inner.endswith(tuple(END_MARKS)) or (inner != text and inner.endswith(("—", "-", ","))):
        return KEEP
    return Verdict(False, f"ends without an end mark: {text[-20:]!r}")


RULES = {"ending": ending}
