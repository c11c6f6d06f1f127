"""Averaging Ω over the neighborhoods of pixels and the nodes of graphs, and the weight patches it is made of."""
