"""Faster forms of what RecBole's models compute, with the same results."""
