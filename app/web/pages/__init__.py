"""Pages for people: server-rendered, no JavaScript needed."""
