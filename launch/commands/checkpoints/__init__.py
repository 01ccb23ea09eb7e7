"""Verbs about checkpoints: evaluate, sample, import, export."""
