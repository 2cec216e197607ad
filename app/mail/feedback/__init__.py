"""What providers and mail servers tell of mail that we sent, read into reports."""
