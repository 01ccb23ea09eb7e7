"""Laws of what is measured on a trained model: accuracy, pass@k, reward. Imports scaling.laws.law."""
