"""What a checkpoint says, against what is known to be true and against what it says when asked again."""
