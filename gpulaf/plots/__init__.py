"""Figures of labelings and predictors."""
