"""Mailboxes that reports come to: what is unread is read, marked as read, and never deleted."""
