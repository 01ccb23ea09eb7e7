"""Verbs about studies and their runs: from study and plan to logs and gc. No command imports another."""
