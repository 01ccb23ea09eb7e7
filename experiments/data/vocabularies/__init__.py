"""Vocabularies: what turns text into token ids, how they are trained, and what they cost each language.

vocab: bytes, SentencePiece models and Hugging Face tokenizers behind one protocol. hugging_face: which of
them a checkpoint's folder has. training: the vocabulary of a corpus, made from its train split. parity:
byte-pair encoding that merges for the worst-compressed language. words: whole words, for corpora of few. tax:
tokens for the same sentences in many languages. May import the configurations of data, data.cache and what a
document is.
"""

__all__ = ["hugging_face", "parity", "tax", "training", "vocab", "words"]
