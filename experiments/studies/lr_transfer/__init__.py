"""The study of learning-rate transfer, and its figures."""
