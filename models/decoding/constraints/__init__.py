"""Text of a given form: JSON schemas, regular expressions, grammars and choices, as masks over tokens."""
