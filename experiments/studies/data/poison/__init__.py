"""Study `poison`: how many documents make a model repeat what they state.

study        its runs, the law, and a larger model that is predicted
repeated     how often a run has read a statement, and how probably it repeats it
conclusions  what is said of them
"""

__all__ = ["conclusions", "repeated", "study"]
