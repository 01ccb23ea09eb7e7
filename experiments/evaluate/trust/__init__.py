"""What a checkpoint says, against what is known to be true and against what it says when asked again.

answers        answers kept on disk: the same checkpoint, prompt and settings get the same one for good
consistency    whether answers to one question are the same: agreement, entropy, flips, paraphrases
detectors      which answers are made up: entropy of answers, votes, probabilities; AUROC
determinism    what of batch, padding, mesh, precision, compiler and machine changes bits and tokens
diversity      how much samples differ: distinct n-grams, self-BLEU, entropy
hallucination  what it makes up: by exposures, after answers of its own, what it knows of its mistakes
knowledge      what it knows of facts that are all known: their probabilities, bits learnt, accuracy
novelty        what of samples stands in the training set: longest n-gram copied, by a suffix array
perturbations  the question in other words, with a slip, with its choices in other orders
questions      a file of questions, and how consistently a checkpoint answers them
run_cell       a checkpoint run in one way of `determinism`, here or in a process of its own
selective      risk and coverage, scores with a penalty for wrong answers, the best rule of when to answer
"""
