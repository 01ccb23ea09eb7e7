"""How Hugging Face names and describes the networks we read and write, an architecture a file."""
