"""Whole models, and how they are loaded, saved and fetched."""
