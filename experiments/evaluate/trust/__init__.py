"""What a checkpoint says, against what is known to be true and against what it says when asked again.

diversity  how much samples differ: distinct n-grams, self-BLEU, entropy
knowledge  what it knows of facts that are all known: their probabilities, bits learnt, accuracy
novelty    what of samples stands in the training set: longest n-gram copied, by a suffix array
"""
