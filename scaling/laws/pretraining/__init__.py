"""Laws of the loss at the end of pre-training, one a file. Imports scaling.laws.law alone."""
