"""The verb about corpora. No command imports another."""
