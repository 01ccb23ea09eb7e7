"""Text that is there twice: equal documents, lines and runs of words, near-duplicates, items of evaluations.

  words            the words of documents as hashes, and of the runs of n of them
  minhash          near-duplicates: MinHash signatures, bands, and which of two documents goes
  exact            equal documents, lines and runs of words: what of it is kept once
  decontamination  runs of words that documents share with the items of evaluations

All give the same whatever the order of the documents and the number of workers: which of two copies stays is
a matter of their texts, and not of which came first. May import splits, for its normal form of text.
"""

__all__ = ["decontamination", "exact", "minhash", "words"]
