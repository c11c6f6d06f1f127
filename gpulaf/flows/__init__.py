"""Linearized and nonlinear assignment flows, in sequence and coupled, and the closed-form gradient."""
