"""Commands for studies and their runs."""
