"""Learned reconstruction: networks, their weights, and the gadgets that run them."""
