"""One run, from settings to records."""
