"""Training networks, and what they predict."""
