"""How images come to the learner, and when it stops: pure functions."""
