"""Commands for laws, predictions and reports."""
