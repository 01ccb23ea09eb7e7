"""Consistency: does a model say the same when it is asked again, in other words, or with a slip of the
keys?

study has the stages and runs, measures what models are asked, summary what differs, figures the pictures.
"""
