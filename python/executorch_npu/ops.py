"""What is done with logits between two steps."""

from ._native import argmax

__all__ = ["argmax"]
