"""What several tests use: small data, settings, references by hand, damage, browsers."""
