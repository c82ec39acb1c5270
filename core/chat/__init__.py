"""Talking to a base model and its adapters."""
