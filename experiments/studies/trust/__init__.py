"""Studies of trust: what models know, invent, repeat and refuse, on facts that are all known.

abstention         remedies against made-up answers: what they buy, and what they cost
creativity         quality, diversity and novelty by sampler, and what post-training does to diversity
structured_output  five ways to a required form
"""
