"""Studies of trust: what models know, invent, repeat and refuse, on facts that are all known."""
