"""The default study: its stages (study), and what it predicts and finds (outcome)."""
