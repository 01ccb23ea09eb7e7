"""Verbs about runs: their table, what differs between two, a figure of columns. No command
imports another."""
