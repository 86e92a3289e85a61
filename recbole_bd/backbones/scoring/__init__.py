"""Logits of every family of RecBole's models."""
