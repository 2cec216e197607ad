"""The second process: sends what is due, and sweeps."""
