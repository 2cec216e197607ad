"""Mail through HTTP APIs: one small file for each provider."""
