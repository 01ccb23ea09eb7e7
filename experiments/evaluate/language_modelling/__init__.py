"""Loss and bits per byte of a checkpoint on text."""
