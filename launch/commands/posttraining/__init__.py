"""Commands that train from a checkpoint: answers, and what people prefer."""
