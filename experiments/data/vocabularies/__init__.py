"""Vocabularies: what turns text into token ids, how they are trained, and what they cost each language.

vocab: bytes, SentencePiece models and Hugging Face tokenizers behind one protocol. training: SentencePiece
models from a corpus. Imports nothing of data but the cache's constants.
"""

__all__ = ["training", "vocab"]
