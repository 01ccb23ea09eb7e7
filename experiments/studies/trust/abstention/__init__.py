"""The study `abstention`: remedies against made-up answers, with their costs.

study     stages, the prediction of the larger models, and what comes out
runs      its settings and runs
measures  what a checkpoint would answer
results   tables of policies, remedies and detectors
figures   pictures
"""
