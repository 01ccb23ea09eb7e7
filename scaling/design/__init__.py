"""Which runs to make next: the target, what runs would tell of it, the choice."""
