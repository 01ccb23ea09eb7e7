"""Capacity: how many bits of known facts a model learns, by its size and how often it meets them.

study has the stages and runs, measures what runs have learnt and how they compare, figures the picture.
"""
