"""Labelled flows and where they come from."""
