"""The doors to what is written for people to keep: monthly statements."""
