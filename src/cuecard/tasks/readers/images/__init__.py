"""Rows of images: in tables, folders and archives."""
