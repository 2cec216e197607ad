"""What providers tell of mail, each in a file: raw bodies become proven reports, without I/O."""
