"""SQLAlchemy lives here and only here: tables, and the functions that read and write them."""
