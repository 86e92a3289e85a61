"""Helpers of several tests: small data, settings, references by hand, damage, browsers."""
