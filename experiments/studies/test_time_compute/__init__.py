"""The study of test-time compute, and its figures."""
