"""The verbs: each takes a connection and plain values, and never commits."""
