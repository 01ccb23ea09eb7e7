"""Laws of whole loss curves, one a file. Imports scaling.laws.law alone."""
