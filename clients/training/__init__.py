"""Training of networks for reconstruction: data, sampling, losses, metrics, and the loop."""
