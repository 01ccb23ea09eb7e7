"""Studies of how models are pretrained and of what shape, one a file.

batch_size    the critical batch, how it grows, and a larger run predicted in a larger batch
figures       the pictures of these studies
"""

__all__ = ["batch_size", "figures"]
