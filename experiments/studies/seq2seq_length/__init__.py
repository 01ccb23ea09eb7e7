"""The study of sequence length in sequence-to-sequence networks, and its figures."""
