"""Tasks with items and responses: what a checkpoint is asked, what it responds, how that is scored."""
