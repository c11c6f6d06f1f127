"""Weights for images without ground truth, predicted from their features."""
