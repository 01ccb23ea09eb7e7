"""Studies of trust: what models know, invent, repeat and refuse, on facts that are all known.

creativity         quality, diversity and novelty by sampler, and what post-training does to diversity
structured_output  five ways to a required form
"""
