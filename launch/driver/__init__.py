"""Takes a study through its stages."""
