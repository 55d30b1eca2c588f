"""The frameworks that are compared, one file each, used as each documents it for speed."""
