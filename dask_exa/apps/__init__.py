"""Use cases, one short module each, behind the command line."""
