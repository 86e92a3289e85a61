"""Training of one role alone and of both together."""
