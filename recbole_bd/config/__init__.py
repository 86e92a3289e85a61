"""From files and command line to one checked configuration."""
