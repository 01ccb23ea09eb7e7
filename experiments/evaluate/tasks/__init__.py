"""Tasks with items and answers: what a checkpoint is asked, what it responds, how that is scored."""
