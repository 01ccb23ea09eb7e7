"""What is kept of a corpus: filters of quality, and of duplicates. A part of the identity of its tokens."""

from dataclasses import dataclass, field

from experiments.fields import ADDED_LATER


@dataclass(frozen=True)
class QualityConfig:
    """Filters that a document must pass, by name (experiments/data/quality/chain.py): a name without a dot is
    all rules of a group, "default" what we hold to be safe for English prose.

    `clean` is a path of text to be like, which "perplexity", "word_order" and "classifier" learn from, and
    `unclean` one to be unlike, for "classifier". "votes" asks for `min_votes` in the field `votes_field`.
    "model_perplexity" has the checkpoint in the folder `model`, and its limit from `clean`.
    """

    filters: tuple[str, ...] = ("default",)
    clean: str = ""
    unclean: str = ""
    votes_field: str = "votes"
    min_votes: int = 3
    model: str = field(default="", metadata=ADDED_LATER)


@dataclass(frozen=True)
class DuplicatesConfig:
    """What of a corpus goes because it is there twice.

    Args:
      documents: whether of equal documents one is kept.
      near: Jaccard similarity of runs of 8 letters from which documents are near-duplicates, of which one
        is kept; 0 keeps all. Of 0.6 are texts of which one word in ten was changed, of 0.8 one in twenty.
      lines: letters of a line from which it is kept once in the corpus; 0 keeps all.
      substring: tokens of a run (words; characters of Chinese and Japanese) that is kept once; 0 keeps all.
      against: path of texts of evaluations: documents that share a run of `overlap` words with one are
        dropped.
      overlap: see `against`.
    """

    documents: bool = True
    near: float = 0.6
    lines: int = 0
    substring: int = 0
    against: str = ""
    overlap: int = 13

    def __post_init__(self):
        if not 0 <= self.near <= 1:
            raise ValueError(f"duplicates: near={self.near}; it is a similarity from 0 (off) to 1")
        for name in ("lines", "substring"):
            if getattr(self, name) < 0:
                raise ValueError(f"duplicates: {name}={getattr(self, name)}; 0 turns it off")
        if self.overlap < 1:
            raise ValueError(f"duplicates: overlap={self.overlap}; it must be at least 1 word")
