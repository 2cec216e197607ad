"""HTTP in and out; on this ground floor stands what both `api` and `pages` need."""
