"""Values become a message, a message becomes bytes on a wire."""
