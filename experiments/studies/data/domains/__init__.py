"""The study of domains.

runs      which runs, and their table; study: its stages
measures  losses on all texts, forgetting, break-even; laws: transfer, and the value of more data
figures, conclusions: what is shown and said of them
"""
