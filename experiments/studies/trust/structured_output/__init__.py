"""Form five ways: prompting, learnt post-processing, constrained sampling, fine-tuning, a classifier.

study has the stages and runs, measures what runs are asked and how ways compare, figures the picture.
"""
