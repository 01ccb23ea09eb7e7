"""Where text comes from: docstrings, files, made strings and walks. A source a file."""
