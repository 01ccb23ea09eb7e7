"""The page of a corpus: what is in it (page), and what its vocabularies cost each language (tax)."""

__all__ = ["page", "tax"]
