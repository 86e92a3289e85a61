"""Configuration: settings from files and command line, folded and checked."""
