"""Tables of runs: read, named, checked and converted. Imports nothing else of scaling."""
